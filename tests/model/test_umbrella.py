"""docs/walkthroughs/umbrella.md, done over the wire on the shipped model: found by asking, turned, seen to move."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from tests.integration.serving import serving

from livelens.client import Client
from livelens.client.run import ClientRun
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    AttentionEdit,
    Component,
    InterventionSegment,
    InterventionSpec,
    Positions,
    Sampling,
)

PROMPT = (
    "When it rains I carry an umbrella. When I carry an umbrella, I wear boots. When I don't carry an umbrella I wear "
    "sneakers. It rains, therefore I wear"
)
BOOTS, SNE, AKERS, LAST = 16, 27, 28, 35
ATTENDING = "L22H4 L21H7 L28H2 L28H0 L24H4 L17H5 L21H8 L21H5 L23H1 L17H7 L23H0 L21H1"


def strongest(scores: np.ndarray, n: int) -> list[Component]:
    """Heads by [n_layers, n_heads] scores, highest first."""
    n_heads = scores.shape[1]
    return [Component("head", int(i) // n_heads, int(i) % n_heads) for i in np.argsort(-scores, axis=None)[:n]]


def turned(heads: list[Component], *, from_keys: tuple[int, ...] = ()) -> InterventionSpec:
    """Their rows at the last prompt token moved to " boots"."""
    edit = AttentionEdit([BOOTS], from_keys=list(from_keys))
    where = Positions("range", LAST, LAST + 1)
    return InterventionSpec("towards boots", "attention_turn", heads, positions=where, attention=edit)


async def probs(client: Client, spec: InterventionSpec | None) -> tuple[float, float]:
    """Of " boots" and " sne" after the prompt; 0 where it is not among the ten likeliest."""
    log = [] if spec is None else [InterventionSegment(0, [spec])]
    run = await client.start_run(PROMPT, channels=[], sampling=Sampling(max_new_tokens=1), intervention_log=log)
    await run.finished()
    top = {token.text: token.prob for token in run.steps[LAST].info.top_tokens}
    return top.get(" boots", 0.0), top.get(" sne", 0.0)


async def asked(client: Client) -> tuple[ClientRun, np.ndarray, np.ndarray]:
    """The clean run; each head's look at " sneakers", and its direct contribution to " sne" over " boots"."""
    run = await client.start_run(PROMPT, channels=["attention"], max_new_tokens=1)
    await run.finished()
    texts = [token.text for token in run.tokens]
    assert (texts[BOOTS], texts[SNE], texts[AKERS], len(texts)) == (" boots", " sne", "akers", LAST + 2)
    looks = run.steps[LAST].attention
    overview = await client.overview(run, pos=LAST, target=" sne", distractor=" boots")
    assert overview.metric.value == pytest.approx(1.988, abs=0.01)
    return run, looks[:, :, SNE] + looks[:, :, AKERS], overview.direct_heads


def test_the_umbrella_story(shipped: TorchEngine) -> None:
    """The figures of the walk-through, to the digits that it prints."""

    async def story() -> None:
        async with serving(shipped) as served, served.client() as client:
            _, looks, direct = await asked(client)
            attending = strongest(looks, 12)
            assert {f"L{head.layer}H{head.index}" for head in attending} == set(ATTENDING.split())
            both = strongest(np.where(looks > 0.1, direct, -np.inf), 12)
            figures = {
                "clean": await probs(client, None),
                "attending": await probs(client, turned(attending)),
                "attending, from sneakers alone": await probs(client, turned(attending, from_keys=(SNE, AKERS))),
                "contributing": await probs(client, turned(strongest(direct, 12))),
                "contributing and attending": await probs(client, turned(both)),
                "one head": await probs(client, turned(both[:1])),
                "three heads": await probs(client, turned(both[:3])),
            }
            for name, (boots, sne) in EXPECTED.items():
                assert figures[name] == (pytest.approx(boots, abs=2e-3), pytest.approx(sne, abs=2e-3)), name

    asyncio.run(story())


EXPECTED = {
    "clean": (0.075, 0.546),
    "attending": (0.685, 0.013),
    "attending, from sneakers alone": (0.514, 0.025),
    "contributing": (0.589, 0.015),
    "contributing and attending": (0.864, 0.0),  # " sne" is not among the ten likeliest any more
    "one head": (0.156, 0.243),
    "three heads": (0.417, 0.117),
}


def test_the_turn_is_seen_in_the_row_and_leaves_earlier_positions_alone(shipped: TorchEngine) -> None:
    heads = [Component("head", 28, 2), Component("head", 23, 0)]

    async def look() -> None:
        async with serving(shipped) as served, served.client() as client:
            clean = await client.start_run(PROMPT, channels=["attention"], max_new_tokens=1)
            await clean.finished()
            log = [InterventionSegment(0, [turned(heads)])]
            run = await client.start_run(PROMPT, channels=["attention"], max_new_tokens=1, intervention_log=log)
            await run.finished()
            for head in heads:
                row = run.steps[LAST].attention[head.layer, head.index]
                assert row[BOOTS] == 1 and row.sum() == 1
            for pos in range(LAST):
                assert np.array_equal(run.steps[pos].attention, clean.steps[pos].attention)

    asyncio.run(look())
