"""Two runs side by side: each channel's difference is that of two plain Hugging Face forwards."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from tests.model.driving import masks_at
from tests.model.families import D_VOCAB, FAMILIES
from tests.model.questions import answered
from tests.model.reference import Edit, Full, Reference

from livelens.client.comparison import Comparison, comparison_of
from livelens.model.engine import AnalysisContext, AnalysisRefusedError, ContextSegment
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import AnalysisProgress, RequestComparison

Tiny = Callable[[str], TorchEngine]
TinyReference = Callable[[str], Reference]
MARY = "When Mary and John went to the store, John gave a drink to"
JOHN = "When Mary and John went to the store, Mary gave a drink to"
GIVER, LAST = 9, 13
EDITS = (
    Edit(start=0, stop=6, heads={(0, 1): 0.0}),
    Edit(start=6, stop=100, heads={(1, 2): 0.5}, neurons={(0, 3): 0.0}, mlp={2: 1.5}, attn={1: 0.5}),
)


def context_of(ids: Sequence[int], edits: Sequence[Edit], engine: TorchEngine, *, n_prompt: int) -> AnalysisContext:
    starts = sorted({0, *(at for edit in edits for at in (edit.start, edit.stop) if at < len(ids))})
    segments = [
        ContextSegment(from_pos=start, revision=n, masks=masks_at(edits, start, engine.info))
        for n, start in enumerate(starts)
    ]
    return AnalysisContext(token_ids=tuple(ids), n_prompt=n_prompt, n_positions=len(ids), segments=tuple(segments))


def compared(engine: TorchEngine, context: AnalysisContext, pos: int, **options: object) -> Comparison:
    question = RequestComparison(request_id=1, run_id="r", pos=pos, **options)  # type: ignore[arg-type]
    _, answer = answered(engine.analyse(question, context))
    assert engine.hooks_left() == 0
    return comparison_of(answer)


@torch.no_grad()
def expected(
    reference: Reference, full: Full, pos: int, target: int, distractor: int | None, edits: Sequence[Edit]
) -> dict[str, np.ndarray]:
    """One run's channels at a position, the long way round."""
    logprobs = torch.log_softmax(reference.lens_logits(full, pos).double(), -1)
    direct = reference.direct(full, pos, target, distractor, edits)

    def norms(tensors: Sequence[torch.Tensor]) -> np.ndarray:
        return torch.stack([tensor[pos] for tensor in tensors]).norm(dim=-1).numpy()

    return {
        "neurons": torch.stack([layer[pos] for layer in full.neurons]).numpy(),
        "heads": reference.head_writes(full, pos).norm(dim=-1).numpy(),
        "attention": torch.stack([pattern[:, pos, : pos + 1] for pattern in full.pattern]).numpy(),
        "residual": norms(full.resid),
        "attn_out": norms(full.attn_out),
        "mlp_out": norms(full.mlp_out),
        "lens_logprob": logprobs[:, target].numpy(),
        "lens_entropy": -(logprobs.exp() * logprobs).sum(-1).numpy(),
        "lens_rank": (logprobs > logprobs[:, target, None]).sum(-1).numpy(),
        "direct_heads": direct["heads"].numpy(),
        "direct_mlps": direct["mlps"].numpy(),
        "direct_neurons": direct["neurons"].numpy(),
    }


def agree(found: Comparison, own: dict[str, np.ndarray], other: dict[str, np.ndarray], *, tolerance: float) -> None:
    """`other` and `difference` are the reference's, every channel, to a share of the channel's largest value."""
    for name, theirs in other.items():
        if name == "direct_neurons":
            continue
        scale = max(1.0, float(np.abs(theirs).max()), float(np.abs(own[name]).max()))
        if name == "lens_rank":
            assert (np.abs(found.difference[name] - (own[name] - theirs)) <= 2e-3 * scale + 1).all(), name
            continue
        assert np.abs(found.other[name] - theirs).max() <= tolerance * scale, name
        assert np.abs(found.difference[name] - (own[name] - theirs)).max() <= tolerance * scale, name
    dense = own["direct_neurons"] - other["direct_neurons"]
    layer, index = found.difference["direct_neuron_layer"], found.difference["direct_neuron_index"]
    values = found.difference["direct_neuron_value"]
    scale = max(1.0, float(np.abs(dense).max()))
    assert np.abs(values - dense[layer, index]).max() <= tolerance * scale
    assert np.abs(values).min() >= np.sort(np.abs(dense).reshape(-1))[-len(values)] - 2 * tolerance * scale


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("without", [False, True], ids=["under its interventions", "without them"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_channel_equals_two_plain_forwards(
    tiny: Tiny, tiny_reference: TinyReference, family: str, without: bool
) -> None:
    """Other tokens, and other interventions; at a position that differs and at one behind it."""
    engine, reference = tiny(family), tiny_reference(family)
    own = random.Random(family).sample(range(3, D_VOCAB), 10)
    other = [*own[:4], 11, *own[5:7], 12, *own[8:]]
    engine.tokenize = lambda text, *, apply_chat_template: other  # type: ignore[method-assign]
    try:
        context = context_of(own, EDITS, engine, n_prompt=len(own))
        runs = [reference.run(own, EDITS), reference.run(other, () if without else EDITS)]
        for pos in (4, 9):
            found = compared(
                engine, context, pos, other_prompt="x", without_interventions=without, target=5, distractor=6
            )
            sides = [
                expected(reference, full, pos, 5, 6, edits)
                for full, edits in zip(runs, (EDITS, () if without else EDITS), strict=True)
            ]
            agree(found, *sides, tolerance=2e-4)
            assert found.differing == [4, 7]
            assert found.first_difference == (0 if without else 4)
            assert np.abs(found.difference["heads"]).max() > 1e-4, "nothing differs: the comparison says nothing"
    finally:
        del engine.tokenize  # type: ignore[method-assign]


def test_the_shipped_model_at_the_token_that_differs_and_at_the_last(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    """Mary's and John's prompt: against two plain forwards, and the token's whole gain is the differences' sum."""
    own, other = (shipped.tokenize(text, apply_chat_template=False) for text in (MARY, JOHN))
    mary, john = (shipped.token_ids(text)[0] for text in (" Mary", " John"))
    context = context_of([*own, mary], (), shipped, n_prompt=len(own))
    runs = [shipped_reference.run([*ids, mary]) for ids in (own, other)]
    for pos in (LAST, GIVER):
        found = compared(shipped, context, pos, other_prompt=JOHN, target=" Mary", distractor=" John")
        agree(found, *(expected(shipped_reference, full, pos, mary, john, ()) for full in runs), tolerance=1e-4)
    found = compared(shipped, context, LAST, other_prompt=JOHN, target=" Mary", distractor=" John")
    metrics = [shipped_reference.metric(full, LAST, mary, john) for full in runs]
    parts = found.difference
    total = parts["direct_heads"].sum() + parts["direct_mlps"].sum() + parts["direct_ends"][:2].sum()
    assert total == pytest.approx(metrics[0] - metrics[1], rel=1e-3)
    assert parts["direct_ends"][2] == pytest.approx(metrics[0] - metrics[1], rel=1e-4)
    assert metrics[0] - metrics[1] > 10
    assert [token.text for token in found.other_top_tokens[:1]] == [" John"]


def test_what_is_the_same_is_exactly_zero(shipped: TorchEngine) -> None:
    """Equal prompts, and all positions before the first other token: bit for bit, in whatever order they are asked."""
    own = shipped.tokenize(MARY, apply_chat_template=False)
    context = context_of(own, (), shipped, n_prompt=len(own))
    for pos in (LAST, 3, GIVER):
        same = compared(shipped, context, pos, other_prompt=MARY)
        assert all(not values.any() for values in same.difference.values())
        assert (same.first_difference, same.differing) == (None, [])
    for pos in (8, 2, GIVER, 8):
        found = compared(shipped, context, pos, other_prompt=JOHN)
        assert found.first_difference == GIVER
        assert all(not values.any() for values in found.difference.values()) == (pos < GIVER)


def test_this_run_against_itself_without_its_interventions(shipped: TorchEngine, shipped_reference: Reference) -> None:
    """An ablation from a position on: nothing before it, the reference's difference behind it."""
    own = shipped.tokenize(MARY, apply_chat_template=False)
    mary, john = (shipped.token_ids(text)[0] for text in (" Mary", " John"))
    edits = (Edit(start=GIVER, stop=100, heads={(23, 3): 0.0}, mlp={5: 0.0}),)
    context = context_of(own, edits, shipped, n_prompt=len(own))
    before = compared(shipped, context, GIVER - 1, without_interventions=True)
    assert all(not values.any() for values in before.difference.values())
    found = compared(shipped, context, LAST, without_interventions=True, target=" Mary", distractor=" John")
    sides = [
        expected(shipped_reference, shipped_reference.run(own, each), LAST, mary, john, each) for each in (edits, ())
    ]
    agree(found, *sides, tolerance=1e-4)
    assert found.first_difference == GIVER
    assert found.difference["heads"][23, 3] == -found.other["heads"][23, 3] < 0


def test_texts_of_two_lengths_are_compared_as_far_as_both_go(shipped: TorchEngine) -> None:
    """What was generated follows a prompt of as many tokens only."""
    own = shipped.tokenize(MARY, apply_chat_template=False)
    mary = shipped.token_ids(" Mary")[0]
    context = context_of([*own, mary], (), shipped, n_prompt=len(own))
    short = "When Mary and John went to the store, he"
    found = compared(shipped, context, 9, other_prompt=short)
    assert len(found.other_tokens) == 10
    assert found.differing == [9]
    with pytest.raises(AnalysisRefusedError, match="has 10 tokens: positions 0 to 9"):
        compared(shipped, context, 10, other_prompt=short)
    assert compared(shipped, context, LAST + 1, other_prompt=JOHN).other_tokens[-1] == " Mary"
    with pytest.raises(AnalysisRefusedError, match="not in the vocabulary"):
        compared(shipped, context, 3, other_prompt=JOHN, target=10**6)
    with pytest.raises(AnalysisRefusedError, match="differ"):
        compared(shipped, context, 3, other_prompt=JOHN, target=5, distractor=5)


def test_a_question_that_is_given_up_leaves_nothing_half_done(shipped: TorchEngine) -> None:
    """The next one is answered as if it had not been."""
    own = shipped.tokenize(MARY, apply_chat_template=False)
    context = context_of(own, (), shipped, n_prompt=len(own))
    whole = compared(shipped, context, LAST, other_prompt=JOHN)
    question = RequestComparison(request_id=2, run_id="r", pos=LAST, other_prompt="When Mary" + JOHN[9:])
    pieces = shipped.analyse(question, context)
    assert isinstance(next(pieces), AnalysisProgress)
    pieces.close()  # type: ignore[attr-defined]
    again = compared(shipped, context, LAST, other_prompt=JOHN)
    assert again.difference["neurons"] == pytest.approx(whole.difference["neurons"], abs=1e-3)
    assert again.difference["heads"] == pytest.approx(whole.difference["heads"], abs=1e-3)
