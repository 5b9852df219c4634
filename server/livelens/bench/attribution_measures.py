"""Attribution: how fast it answers, and how well it agrees with what ablating really does."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from typing import Final

from livelens.bench.measurement import Measurement
from livelens.bench.server_process import ServerProcess
from livelens.bench.viewing import CAPTURED
from livelens.client import Client, connect
from livelens.client.run import ClientRun
from livelens.protocol.messages import Channel, Sampling

# Prompt, target, distractor.
_QUESTIONS: Final = (
    ("mary_john", "When Mary and John went to the store, John gave a drink to", " Mary", " John"),
    ("paris_rome", "The Eiffel Tower is in the city of", " Paris", " Rome"),
)
_LONG_PROMPT: Final = "The history of the city begins with a river, and the river begins with rain. " * 6
_ROUNDS = 5


def attribution(server: ServerProcess) -> list[Measurement]:
    """Times beside a token's and a forward pass's of the same run; agreement with the causal map."""
    return asyncio.run(_measure(server))


async def _measure(server: ServerProcess) -> list[Measurement]:
    measured: list[Measurement] = []
    async with connect(server.url) as client:
        for name, prompt, target, distractor in _QUESTIONS:
            run = await _finished(client, prompt, n_tokens=1)
            pos = run.n_prompt_tokens - 1
            measured += await _agreement(client, run, name, pos, target, distractor)
        measured += await _times(client)
    return measured


async def _agreement(
    client: Client, run: ClientRun, name: str, pos: int, target: str, distractor: str
) -> list[Measurement]:
    """Every head ablated at the metric's position, beside what attribution says of it there."""
    heads = await client.measure(run, pos=pos, target=target, distractor=distractor, scope="heads")
    by_effect = sorted(zip(heads.components, heads.effects, strict=True), key=lambda pair: -abs(pair[1]))
    strongest = ", ".join(f"L{part.layer}H{part.index} {effect:+.2f}" for part, effect in by_effect[:4])
    direct = await client.overview(run, pos=pos, target=target, distractor=distractor)
    return [
        Measurement(
            name=f"attribution_sign_agreement_{name}",
            value=float(heads.sign_agreement if heads.sign_agreement is not None else "nan"),
            unit="fraction of the ten strongest attributed heads",
            note=f"measured strongest: {strongest}",
        ),
        Measurement(
            name=f"attribution_spearman_{name}",
            value=float(heads.spearman if heads.spearman is not None else "nan"),
            unit="rank correlation over all heads",
        ),
        Measurement(
            name=f"direct_effects_shown_{name}",
            value=abs(direct.shown - 1.0),
            unit="of the metric left out",
            target=1e-3,
            note=f"metric {direct.metric.value:.4f} logits",
        ),
        Measurement(
            name=f"causal_map_of_all_heads_{name}",
            value=heads.secs,
            unit="s",
            target=2.0,
            note=f"{len(by_effect)} heads",
        ),
    ]


async def _times(client: Client) -> list[Measurement]:
    """Direct effects beside one token; a clicked node beside a forward pass over the run."""
    token_secs = await _token_secs(client, channels=("neurons", "heads"))
    forward_secs = await _forward_secs(client)
    share = await _direct_share(client)
    live_causal = await _live_causal_ratio(client)
    run = await _finished(client, _LONG_PROMPT, n_tokens=1)
    pos = run.n_prompt_tokens - 1
    first_secs = await _secs(partial(client.attribution, run, pos=pos))  # which linearises the run
    clicks = [f"L{layer}H{head}@{pos}" for layer, head in ((28, 3), (20, 0), (25, 5), (15, 8), (29, 2))]
    click_secs = [await _secs(partial(_click, client, run, pos, node)) for node in clicks]
    return [
        Measurement(
            name="direct_effects_over_a_token",
            value=share,
            unit="of the time of a token",
            target=0.5,
            note=f"a token takes {1e3 * token_secs:.0f} ms here",
        ),
        Measurement(
            name="live_causal_over_a_token",
            value=live_causal,
            unit="times the time of a token without",
            target=2.0,
            note="the 8 strongest components measured at every token",
        ),
        Measurement(
            name="clicked_node_over_a_forward_pass",
            value=statistics.median(click_secs) / forward_secs,
            unit="forward passes of the run's length",
            target=2.0,
            note=f"who fed it and whom it fed; {pos + 1} tokens, a pass takes {1e3 * forward_secs:.0f} ms",
        ),
        Measurement(
            name="first_question_over_a_forward_pass",
            value=first_secs / forward_secs,
            unit="forward passes of the run's length",
            note="linearises the run; what is asked about it afterwards does not",
        ),
    ]


async def _click(client: Client, run: ClientRun, pos: int, node: str) -> None:
    """What the page asks when a node is clicked."""
    await client.attribution(run, pos=pos, node=node)
    await client.attribution(run, pos=pos, node=node, direction="outgoing")


async def _direct_share(client: Client) -> float:
    """What the direct_logit channel adds to a token, as a share of the token without it."""
    without, with_it = [], []
    for _ in range(_ROUNDS):
        without.append(await _token_secs(client, channels=("neurons", "heads")))
        with_it.append(await _token_secs(client, channels=("neurons", "heads", "direct_logit")))
    return statistics.median((b - a) / a for a, b in zip(without, with_it, strict=True))


async def _live_causal_ratio(client: Client) -> float:
    """The time of a token with the causal_effects channel over that without, all else as the page asks for it."""
    ratios = []
    for _ in range(_ROUNDS):
        without = await _token_secs(client, channels=CAPTURED)
        ratios.append(await _token_secs(client, channels=(*CAPTURED, "causal_effects")) / without)
    return statistics.median(ratios)


async def _token_secs(client: Client, *, channels: tuple[Channel, ...]) -> float:
    run = await _finished(client, _QUESTIONS[0][1], n_tokens=24, channels=channels)
    stamps = sorted(step.info.server_ns for pos, step in run.steps.items() if pos >= run.n_prompt_tokens + 8)
    return statistics.median(b - a for a, b in pairwise(stamps)) / 1e9


async def _forward_secs(client: Client) -> float:
    """From the command to the first token of the long prompt, nothing captured: one pass over it."""

    async def first_token() -> None:
        run = await _finished(client, _LONG_PROMPT, n_tokens=1, channels=())
        assert run.token_ids

    return statistics.median([await _secs(first_token) for _ in range(_ROUNDS)])


async def _finished(
    client: Client, prompt: str, *, n_tokens: int, channels: tuple[Channel, ...] = ("heads",)
) -> ClientRun:
    sampling = Sampling(max_new_tokens=n_tokens, stop_at_eos=False)
    run = await client.start_run(prompt, channels=channels, sampling=sampling)
    await run.finished()
    return run


async def _secs(work: Callable[[], Awaitable[object]]) -> float:
    start = time.perf_counter()
    await work()
    return time.perf_counter() - start
