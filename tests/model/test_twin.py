"""Both rows of a twin equal full forwards of plain Hugging Face: one with the operations by hand, one with none."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from tests.model.driving import ALL
from tests.model.families import D_MLP, FAMILIES, N_HEADS
from tests.model.hand_hooks import Seen, forward_by_hand
from tests.model.operation_cases import World, at_positions, cases
from tests.model.reference import Reference
from tests.model.test_operations import (
    IDS,
    N_PROMPT,
    NAMES,
    WHERE,
    Words,
    assert_equals,
    hands_of,
    held_at,
    world_of,
)
from tests.unit.run.driving import TAG, Driven

from livelens.model.engine import Captured, LogitPair, StepArrays, TwinSequence
from livelens.model.interventions import InterventionMasks, masks_from
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    Channel,
    Component,
    InterventionSegment,
    InterventionSpec,
    Positions,
    Sampling,
    TwinMode,
)
from livelens.run.resources import RunResources, Surroundings

READ: frozenset[Channel] = ALL - {"causal_effects", "logit_lens", "difference"}
NOTHING: frozenset[Channel] = frozenset()
# The clean row goes its own way from here on: the same number of other tokens.
OTHER_IDS = [*IDS[:N_PROMPT], *(101 + 7 * n for n in range(len(IDS) - N_PROMPT))]
SHIPPED_TEXT = "The Eiffel Tower is in the city of Paris, and the river"
Row = tuple[dict[int, StepArrays], dict[int, np.ndarray]]


def carried(
    engine: TorchEngine,
    ids: Sequence[int],
    clean_ids: Sequence[int],
    from_pos: int,
    masks: InterventionMasks,
    *,
    channels: frozenset[Channel] = READ,
) -> tuple[Row, Row, dict[int, float]]:
    """Both rows as a run carries them: the prompt in one forward call (two where the set begins within), then each
    token; by position what the channels show (of the prompt every other one, and the last of a call), the logits of
    calls' last positions, and the divergences.
    """
    rows: tuple[Row, Row] = (({}, {}), ({}, {}))
    divergences: dict[int, float] = {}
    twin = engine.open_sequence().paired(engine.open_sequence())
    stops = sorted({from_pos, N_PROMPT, *range(N_PROMPT, len(ids) + 1)} - {0})
    while twin.n_positions < len(ids):
        start = twin.n_positions
        end = next(stop for stop in stops if stop > start)
        both = twin.forward(
            ids[start:end], clean_ids[start:end], masks=masks if start >= from_pos else None, channels=channels
        )
        for (arrays, logits), captured in zip(rows, both, strict=True):
            for index in range(end - start):
                if (start + index) % 2 == 1 and index < end - start - 1:
                    continue
                arrays[start + index] = captured.arrays(index, channels=channels, chosen_id=7, pair=LogitPair())
            logits[end - 1] = captured.logits
        for index in range(end - start):
            divergences[start + index] = both[0].divergence(index, both[1])
    twin.close()
    return *rows, divergences


def kl_of(own: Seen, other: Seen, pos: int) -> float:
    p, q = (seen.logits[pos].double().log_softmax(-1) for seen in (own, other))
    return float((p.exp() * (p - q)).sum())


def check_twin(
    engine: TorchEngine,
    reference: Reference,
    placed: list[tuple[str, InterventionSpec]],
    world: World,
    from_pos: int,
    clean_ids: Sequence[int],
    clean: Seen,
    *,
    tolerance: float = 1e-5,
    kl_tolerance: float = 1e-5,
) -> bool:
    """Whether the rows were held against plain Hugging Face and differ."""
    made = cases(world)
    resources = RunResources(Words(engine), IDS[:N_PROMPT], Surroundings(directions={"d": world.direction.numpy()}))
    masks = masks_from([spec for _, spec in placed], engine.info, resources)
    patched, other, divergences = carried(engine, IDS, clean_ids, from_pos, masks)
    hands = hands_of([(made[name], held_at(made[name], from_pos, spec.positions, IDS)) for name, spec in placed])
    seen = forward_by_hand(reference, IDS, hands)
    assert_equals(patched, seen, reference, tolerance=tolerance)
    assert_equals(other, clean, reference, tolerance=1e-5)
    for pos, kl in divergences.items():
        expected = kl_of(seen, clean, pos)
        assert abs(kl - expected) <= kl_tolerance * max(1.0, expected), f"KL at {pos}: {kl}, not {expected}"
    assert engine.hooks_left() == 0
    return max(divergences.values()) > 1e-9


@pytest.fixture(params=FAMILIES)
def tiny_world(
    request: pytest.FixtureRequest,
    tiny: Callable[[str], TorchEngine],
    tiny_reference: Callable[[str], Reference],
    one_thread: None,
) -> tuple[TorchEngine, Reference, World]:
    """Of each family in turn."""
    engine, reference = tiny(request.param), tiny_reference(request.param)
    return engine, reference, world_of(engine, reference, layer=1, heads=(1, N_HEADS - 1), neuron=D_MLP // 2)


def test_every_operation_acts_on_the_patched_row_alone(
    tiny_world: tuple[TorchEngine, Reference, World], request: pytest.FixtureRequest
) -> None:
    """Each at one of the kinds of positions, the next at the next; every other one with a clean row of other text."""
    engine, reference, world = tiny_world
    number_of_family = FAMILIES.index(request.node.callspec.params["tiny_world"])
    texts = {False: IDS, True: OTHER_IDS}
    clean = {is_other: forward_by_hand(reference, ids, {}) for is_other, ids in texts.items()}
    for number, name in enumerate(NAMES):
        from_pos, positions = list(WHERE.values())[(number + number_of_family) % len(WHERE)]
        spec, is_other = at_positions(cases(world)[name], name, positions), number % 2 == 1
        assert check_twin(engine, reference, [(name, spec)], world, from_pos, texts[is_other], clean[is_other]), (
            f"{name}: an operation that changes nothing proves nothing"
        )


def test_all_operations_mixed_act_on_the_patched_row_alone(tiny_world: tuple[TorchEngine, Reference, World]) -> None:
    engine, reference, world = tiny_world
    wheres = [Positions(), Positions("range", 5, 12), Positions("tokens", token_ids=[17, 5])]
    placed = [(name, at_positions(cases(world)[name], name, wheres[i % 3])) for i, name in enumerate(NAMES)]
    clean = forward_by_hand(reference, OTHER_IDS, {})
    assert check_twin(engine, reference, placed, world, 3, OTHER_IDS, clean, tolerance=3e-5)


def test_on_the_shipped_model_all_operations_act_on_the_patched_row_alone(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    """Every operation on every component it fits at once, the clean row over another text.

    Each logit to 1e-5 of the largest, which is some 20 nat: their divergence is as far off as they are.
    """
    world = world_of(shipped, shipped_reference, layer=17, heads=(4, 7), neuron=529)
    placed = [(name, at_positions(cases(world)[name], name, Positions())) for name in NAMES]
    clean = forward_by_hand(shipped_reference, OTHER_IDS, {})
    assert check_twin(shipped, shipped_reference, placed, world, 3, OTHER_IDS, clean, kl_tolerance=1e-4)


def some_masks(engine: TorchEngine, positions: Positions | None = None) -> InterventionMasks:
    specs = [
        InterventionSpec("a", "zero", [Component("attn", 4), Component("mlp", 9)], positions=positions or Positions()),
        InterventionSpec("b", "scale", [Component("head", 17, 4)], -2.0, positions=positions or Positions()),
    ]
    return masks_from(specs, engine.info)


def stepped(twin: TwinSequence, ids: Sequence[int], masks: InterventionMasks | None) -> tuple[Captured, Captured]:
    """The prompt of `ids`, then token by token, the clean row fed the same."""
    both = twin.forward(ids[:N_PROMPT], ids[:N_PROMPT], masks=masks, channels=READ)
    for token_id in ids[N_PROMPT:]:
        both = twin.forward([token_id], [token_id], masks=masks, channels=READ)
    return both


def test_on_the_shipped_model_each_row_is_the_run_it_would_be_alone(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    """The clean one is plain Hugging Face; the patched one the run without a twin, up to the order of additions."""
    ids = shipped.tokenize(SHIPPED_TEXT, apply_chat_template=False)
    masks = some_masks(shipped)
    patched, clean = stepped(shipped.open_sequence().paired(shipped.open_sequence()), ids, masks)
    plain = forward_by_hand(shipped_reference, ids, {}).logits[-1].numpy()
    assert np.abs(clean.logits - plain).max() <= 1e-5 * np.abs(plain).max()
    alone = shipped.open_sequence()
    alone.forward(ids[:N_PROMPT], masks=masks, channels=READ)
    for token_id in ids[N_PROMPT:]:
        captured = alone.forward([token_id], masks=masks, channels=READ)
    assert np.abs(patched.logits - captured.logits).max() <= 1e-5 * np.abs(captured.logits).max()
    assert patched.logits.argmax() == captured.logits.argmax() and patched.divergence(0, clean) > 0.01
    p, q = (torch.from_numpy(each.logits).double().log_softmax(-1) for each in (captured, clean))
    assert patched.divergence(0, clean) == pytest.approx(float((p.exp() * (p - q)).sum()), rel=1e-4)


def test_where_nothing_acts_two_rows_of_a_batch_are_equal(shipped: TorchEngine) -> None:
    """The rows of one product go through the same additions: no difference at all, in any channel."""
    ids = shipped.tokenize(SHIPPED_TEXT, apply_chat_template=False)
    later = some_masks(shipped, Positions("range", 500, 600))  # so that the rows have edits, and none that acts
    both = stepped(shipped.open_sequence().paired(shipped.open_sequence()), ids, later)
    assert both[0].divergence(0, both[1]) < 1e-9
    shown = [each.arrays(0, channels=READ, chosen_id=7, pair=LogitPair()) for each in both]
    for name in ("neurons", "heads", "attention", "residual", "attn_out", "mlp_out"):
        np.testing.assert_array_equal(getattr(shown[0], name), getattr(shown[1], name), err_msg=name)


def test_a_row_that_was_brought_up_goes_on_as_one_carried_from_the_start(shipped: TorchEngine) -> None:
    ids = shipped.tokenize(SHIPPED_TEXT, apply_chat_template=False)
    masks = some_masks(shipped)
    whole = shipped.open_sequence().paired(shipped.open_sequence())
    alone = shipped.open_sequence()
    for sequence_ids in (ids[:4],):
        alone.forward(sequence_ids, masks=None, channels=NOTHING)
        whole.forward(sequence_ids, sequence_ids, masks=None, channels=NOTHING)
    past = alone.branch(4)  # what both have in common is the same memory
    alone.forward(ids[4:-1], masks=masks, channels=NOTHING)
    whole.forward(ids[4:-1], ids[4:-1], masks=masks, channels=NOTHING)
    past.forward(ids[4:-1], masks=None, channels=NOTHING)
    late = alone.paired(past)
    assert alone.n_positions == past.n_positions == 0 and late.n_positions == len(ids) - 1
    for a, b in zip(
        whole.forward(ids[-1:], ids[-1:], masks=masks, channels=NOTHING),
        late.forward(ids[-1:], ids[-1:], masks=masks, channels=NOTHING),
        strict=True,
    ):
        assert np.abs(a.logits - b.logits).max() <= 1e-5 * np.abs(a.logits).max()


def test_cut_branched_and_taken_apart_the_patched_row_is_the_run(tiny: Callable[[str], TorchEngine]) -> None:
    engine = tiny("llama")
    masks = masks_from([InterventionSpec("a", "zero", [Component("mlp", 1)])], engine.info)
    twin, alone = engine.open_sequence().paired(engine.open_sequence()), engine.open_sequence()
    twin.forward(IDS, OTHER_IDS, masks=masks, channels=NOTHING)
    alone.forward(IDS, masks=masks, channels=NOTHING)
    twin.truncate(6)
    alone.truncate(6)
    branch, of_alone = twin.branch(5), alone.branch(5)
    for ours, theirs in ((branch, of_alone), (twin.patched(), alone)):
        own = ours.forward([44], masks=masks, channels=NOTHING).logits
        np.testing.assert_allclose(own, theirs.forward([44], masks=masks, channels=NOTHING).logits, atol=1e-5)
    assert twin.n_positions == 0
    with pytest.raises(ValueError, match="make no batch"):
        branch.paired(alone)


def test_what_components_did_for_the_newest_token_is_the_same_beside_a_twin(
    tiny: Callable[[str], TorchEngine],
) -> None:
    engine = tiny("llama")
    masks = masks_from([InterventionSpec("a", "zero", [Component("head", 0, 1)])], engine.info)
    channels: frozenset[Channel] = frozenset(("causal_effects",))
    twin, alone = engine.open_sequence().paired(engine.open_sequence()), engine.open_sequence()
    captured, _ = twin.forward(IDS, OTHER_IDS, masks=masks, channels=channels)
    expected = alone.forward(IDS, masks=masks, channels=channels)
    components = [Component("mlp", 2), Component("head", 1, 3), Component("mlp", 0)]
    for one in (captured, expected):
        assert one.n_positions == len(IDS)
    found = [one.measured_effects(components, target_id=9, distractor_id=None) for one in (captured, expected)]
    np.testing.assert_allclose(found[0], found[1], atol=1e-5)


def test_a_fault_in_the_middle_of_a_forward_call_leaves_both_rows_and_no_hook(
    tiny: Callable[[str], TorchEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = tiny("gpt2")
    masks = masks_from([InterventionSpec("a", "zero", [Component("mlp", 1)])], engine.info)
    twin = engine.open_sequence().paired(engine.open_sequence())
    twin.forward(IDS[:6], OTHER_IDS[:6], masks=masks, channels=READ)
    block = engine.anatomy.layers[2].block

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr(block, "forward", broken)
    with pytest.raises(RuntimeError, match="broken"):
        twin.forward(IDS[6:7], OTHER_IDS[6:7], masks=masks, channels=READ)
    monkeypatch.undo()
    assert engine.hooks_left() == 0 and twin.n_positions == 6
    again = engine.open_sequence().paired(engine.open_sequence())
    again.forward(IDS[:6], OTHER_IDS[:6], masks=masks, channels=READ)
    for a, b in zip(
        twin.forward(IDS[6:7], OTHER_IDS[6:7], masks=masks, channels=READ),
        again.forward(IDS[6:7], OTHER_IDS[6:7], masks=masks, channels=READ),
        strict=True,
    ):
        np.testing.assert_array_equal(a.logits, b.logits)


def test_a_run_with_a_twin_says_what_two_full_forward_passes_say(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    """Step by step: the same text as without, KL, both probabilities, differences; switched on late, the same."""
    specs = [InterventionSpec("a", "zero", [Component("attn", 4), Component("mlp", 9)])]
    log = [InterventionSegment(from_pos=0, interventions=[]), InterventionSegment(from_pos=4, interventions=specs)]
    channels = frozenset(("difference",))
    few = Sampling(max_new_tokens=6, stop_at_eos=False)

    def run(twin: TwinMode) -> Driven:
        return Driven(shipped, prompt=SHIPPED_TEXT, sampling=few, log=log, channels=channels, twin=twin)

    whole, late = run("teacher_forced").go().read_all(), run("off")
    late.go(3)
    late.run.set_twin("teacher_forced", TAG)
    late.go().read_all()
    tokens = whole.run.tokens
    assert tokens == late.run.tokens == run("off").go().run.tokens
    acts = (torch.arange(len(tokens) - 1) >= 4)[:, None]
    hands = {place: lambda x: torch.where(acts, torch.zeros_like(x), x) for place in (("attn", 4), ("mlp", 9))}
    own, clean = (forward_by_hand(shipped_reference, tokens[:-1], each) for each in (hands, {}))
    for driven in (whole, late):
        for step, exact in driven.steps:
            pos, twin = step.pos, step.twin
            if twin is None:
                continue
            assert twin.kl == pytest.approx(kl_of(own, clean, pos), rel=1e-3, abs=1e-6)
            logprobs = clean.logits[pos].log_softmax(-1)
            assert twin.logprob == pytest.approx(float(logprobs[tokens[pos + 1]]), abs=1e-3)
            assert twin.prefers_id == int(logprobs.argmax()) and (twin.kl == 0.0) == (pos < 4)
            assert exact.difference is not None and exact.neurons is None
            neurons = torch.stack([a[pos] - b[pos] for a, b in zip(own.neurons, clean.neurons, strict=True)])
            ours, scale = exact.difference["difference_neurons"], max(1.0, float(neurons.abs().max()))
            assert float((torch.from_numpy(ours) - neurons).abs().max()) <= 2e-4 * scale
    n_steps = len(tokens) - 1
    assert [step.pos for step, _ in late.steps if step.twin is not None] == [n_steps - 3, n_steps - 2, n_steps - 1]
