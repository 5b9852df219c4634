"""What a viewer receives over the wire is what an independent forward pass computes, on the shipped model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tests.integration.serving import serving
from tests.model.driving import close
from tests.model.reference import Edit, Full, Reference

from livelens.client import StepData, ablate
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import CHANNELS, InterventionSegment, Sampling

PROMPTS = (
    "When Mary and John went to the store, John gave a drink to",
    "The Eiffel Tower is in the city of",
    "def fibonacci(n):\n    ",
)
N_NEW = 32
SAMPLING = Sampling(max_new_tokens=N_NEW, stop_at_eos=False)
FEW = Sampling(max_new_tokens=14, stop_at_eos=False)
FLOAT16 = 1e-3  # half a step of float16 is 4.9e-4; the rest is float32's own noise


def assert_streamed_equals(
    step: StepData, reference: Reference, full: Full, edits: Sequence[Edit] = (), *, lens: bool = True
) -> None:
    """Every channel of one streamed position, within its own quantisation."""
    pos, where = step.pos, f"position {step.pos}"
    neurons = torch.stack([row[pos] for row in full.neurons])
    roots = 127 * torch.sqrt(neurons.abs() / neurons.abs().amax(-1, keepdim=True).clamp_min(1e-30))
    codes = step.tensor("neurons").astype(np.float32)
    worst = np.abs(codes - (roots * neurons.sign()).numpy()).max()
    assert worst <= 0.5 + 0.1, f"{where}: a neuron's code is off by {worst} of a step"
    close(step.heads, reference.head_writes(full, pos).norm(dim=-1), relative=FLOAT16, what=f"{where} heads")
    pattern = torch.stack([rows[:, pos, : pos + 1] for rows in full.pattern]).numpy()
    assert np.abs(step.attention - pattern).max() <= 0.5 / 255 + 1e-4, f"{where} attention"
    residual = torch.stack([stream[pos].norm() for stream in full.resid])
    close(step.residual, residual, relative=FLOAT16, what=f"{where} residual")
    assert step.info.chosen_id is not None
    _assert_direct_sums(step, reference, full, edits)
    if lens:
        _assert_lens(step, reference.lens_logits(full, pos))


def _assert_direct_sums(step: StepData, reference: Reference, full: Full, edits: Sequence[Edit]) -> None:
    embed, final, total = step.tensor("direct_ends").astype(np.float64)
    parts = [step.direct_heads, step.direct_mlps, step.tensor("direct_bias")]
    added = sum(float(part.sum(dtype=np.float64)) for part in parts) + embed + final
    target = step.info.direct_target_id
    assert target is not None
    expected = reference.metric(full, step.pos, target, step.info.direct_distractor_id)
    assert abs(added - expected) <= 1e-3 * max(0.1, abs(expected)), (step.pos, added, expected, edits)
    assert abs(total - expected) <= 1e-3 * max(0.1, abs(expected))


def _assert_lens(step: StepData, logits: torch.Tensor) -> None:
    top = step.tensor("lens_token_id").astype(np.int64)
    best = logits.max(-1).values
    shown = logits[torch.arange(len(top)), torch.from_numpy(top)]
    assert bool((best - shown <= 1e-3 * best.abs().clamp_min(1)).all()), f"position {step.pos}: lens top token"
    logprob = logits.log_softmax(-1)[:, step.info.chosen_id]
    close(step.tensor("lens_logprob").astype(np.float32), logprob, relative=1e-3, what=f"position {step.pos} lens")


@pytest.mark.parametrize("prompt", PROMPTS)
async def test_every_streamed_channel_equals_a_plain_forward(
    shipped: TorchEngine, shipped_reference: Reference, prompt: str
) -> None:
    """32 greedy tokens: the tokens are `generate`'s, and every position's arrays are the forward pass's."""
    async with serving(shipped) as served, served.client() as client:
        run = await client.start_run(prompt, channels=CHANNELS, sampling=SAMPLING)
        assert await run.finished() == "max_new_tokens"
    n_prompt = run.n_prompt_tokens
    assert run.token_ids == shipped_reference.greedy(run.token_ids[:n_prompt], N_NEW)
    full = shipped_reference.run(run.token_ids[:-1])
    assert sorted(run.steps) == list(range(n_prompt + N_NEW - 1))
    for pos, step in run.steps.items():
        assert_streamed_equals(step, shipped_reference, full, lens=pos >= n_prompt - 1)


async def test_switched_on_at_10_and_off_at_20_equals_a_forward_with_hooks_on_those_positions(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    """Heads, neurons, an attention layer and an MLP layer, switched by a viewer in the middle of the text."""
    off = [ablate("L23H3", "L5H0"), ablate("L10N7", "L3N1404", "L29N3"), ablate("L12.attn"), ablate("L8.mlp")]
    async with serving(shipped) as served, served.client() as client:
        run = await client.start_run(PROMPTS[0], channels=CHANNELS, sampling=SAMPLING, start_paused=True)
        n_prompt = run.n_prompt_tokens
        boundaries = []
        for length, wanted in ((10, off), (20, [])):
            while len(run.tokens) < n_prompt + length:
                before = len(run.tokens)
                await client.step_once(run)
                await run.until(lambda seen, n=before: len(seen.tokens) == n + 1 and seen.state == "paused")
            boundaries.append((await client.set_interventions(run, wanted)).from_pos)
        await client.resume(run)
        await run.finished()
    start_pos, stop_pos = boundaries
    assert stop_pos - start_pos == 10
    edit = Edit(
        start=start_pos,
        stop=stop_pos,
        heads={(23, 3): 0.0, (5, 0): 0.0},
        neurons={(10, 7): 0.0, (3, 1404): 0.0, (29, 3): 0.0},
        attn={12: 0.0},
        mlp={8: 0.0},
    )
    full = shipped_reference.run(run.token_ids[:-1], [edit])
    for pos in range(n_prompt - 1, n_prompt + N_NEW - 1):
        row = full.logits[pos]
        assert float(row.max() - row[run.token_ids[pos + 1]]) <= 1e-3, f"token {pos + 1} is not the patched model's"
        assert_streamed_equals(run.steps[pos], shipped_reference, full, [edit])


async def test_recompute_from_0_equals_a_forward_with_hooks_everywhere(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    """The kept tokens' positions are computed again under the set, and the text goes on from there."""
    async with serving(shipped) as served, served.client() as client:
        run = await client.start_run(PROMPTS[0], channels=CHANNELS, sampling=FEW, start_paused=True)
        for _ in range(6):
            before = len(run.tokens)
            await client.step_once(run)
            await run.until(lambda seen, n=before: len(seen.tokens) == n + 1 and seen.state == "paused")
        kept = list(run.token_ids)
        applied = await client.set_interventions(
            run, [ablate("L23H3", "L29H1"), ablate("L4.mlp", amount=0.5)], mode="recompute"
        )
        assert applied.from_pos == 0
        await client.resume(run)
        await run.finished()
    assert run.token_ids[: len(kept)] == kept
    edit = Edit(start=0, stop=10_000, heads={(23, 3): 0.0, (29, 1): 0.0}, mlp={4: 0.5})
    full = shipped_reference.run(run.token_ids[:-1], [edit])
    assert sorted(run.steps) == list(range(len(run.token_ids) - 1))
    for pos, step in run.steps.items():
        assert_streamed_equals(step, shipped_reference, full, [edit], lens=pos >= len(kept))
    for pos in range(len(kept), len(run.token_ids)):
        row = full.logits[pos - 1]
        assert float(row.max() - row[run.token_ids[pos]]) <= 1e-3


async def test_same_seed_and_log_same_text(shipped: TorchEngine) -> None:
    """Sampled at temperature 1, with a log of two sets: twice the same, and another seed differs."""
    log = [InterventionSegment(3, [ablate("L2H1")]), InterventionSegment(20, [ablate("L9.mlp", amount=0.3)])]
    texts = []
    async with serving(shipped) as served, served.client() as client:
        for seed in (7, 7, 8):
            sampling = Sampling(temperature=1.0, top_k=50, top_p=0.95, seed=seed, max_new_tokens=16, stop_at_eos=False)
            run = await client.start_run(PROMPTS[1], channels=[], sampling=sampling, intervention_log=log)
            await run.finished()
            texts.append(run.token_ids)
    assert texts[0] == texts[1] != texts[2]
