"""Live causal: what is measured of a token as it is made equals `request_effects`, and a plain Hugging Face forward."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from tests.integration.serving import serving
from tests.model import test_operations as operations
from tests.model.driving import masks_at
from tests.model.families import FAMILIES
from tests.model.hand_hooks import forward_by_hand
from tests.model.operation_cases import Case, at_positions, cases
from tests.model.questions import answered, metric_of, output_of, parts_of, replaced, segments_of
from tests.model.reference import Edit, Full, Reference
from tests.model.test_effects import EDITS, tokens_of
from tests.model.test_operations import hands_of, world_of

from livelens.model.effects import measure_effects
from livelens.model.engine import Captured, EngineError
from livelens.model.interventions import masks_from
from livelens.model.sequence import TorchSequence
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    MEASURED_CHANNELS,
    Channel,
    Component,
    InterventionSegment,
    InterventionSpec,
    MetricQuestion,
    Positions,
    RequestEffects,
    Sampling,
)
from livelens.protocol.tensors import reconstruct
from livelens.run.causal import N_COMPONENTS
from livelens.run.resources import RunResources, Surroundings

Tiny = Callable[[str], TorchEngine]
TinyReference = Callable[[str], Reference]
CAUSAL: frozenset[Channel] = frozenset(MEASURED_CHANNELS)
MARY = "When Mary and John went to the store, John gave a drink to"
TARGET, DISTRACTOR = 17, 5


def all_components(engine: TorchEngine) -> list[Component]:
    """Every head and MLP, in no order of layers, and one of each other kind."""
    info = engine.info
    parts = [Component(kind="mlp", layer=layer) for layer in reversed(range(info.n_layers))]
    parts += [
        Component(kind="head", layer=at, index=head) for at in range(info.n_layers) for head in range(info.n_heads)
    ]
    return [*parts, Component(kind="attn", layer=1), Component(kind="neuron", layer=0, index=7)]


def newest(engine: TorchEngine, ids: Sequence[int], edits: Sequence[Edit]) -> tuple[TorchSequence, Captured]:
    """The run computed as a run computes it: the prompt in pieces of equal masks, then token by token."""
    sequence = engine.open_sequence()
    n_prompt = len(ids) - 3
    starts = [0, *sorted({edit.start for edit in edits if 0 < edit.start < n_prompt}), n_prompt]
    captured: Captured | None = None
    for start, stop in [*pairwise(starts), *((at, at + 1) for at in range(n_prompt, len(ids)))]:
        masks = masks_at(edits, start, engine.info)
        captured = sequence.forward(ids[start:stop], masks=masks, channels=CAUSAL)
    assert captured is not None
    return sequence, captured


def expected(
    reference: Reference,
    ids: Sequence[int],
    edits: Sequence[Edit],
    parts: Sequence[Component],
    target: int,
    distractors: Sequence[int | None] = (None,),
) -> np.ndarray:
    """[distractor, part], the long way round: a whole forward for each component, with a hook of its own."""
    pos, full = len(ids) - 1, reference.run(ids, edits)

    def metrics(seen: Full) -> np.ndarray:
        return np.array([reference.metric(seen, pos, target, distractor) for distractor in distractors])

    effects = []
    for part in parts:
        zeros = np.zeros_like(output_of(full, part, reference.n_heads)[0])
        with replaced(reference, part, zeros, slice(pos, pos + 1)):
            effects.append(metrics(full) - metrics(reference.run(ids, edits)))
    return np.stack(effects, axis=1)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("edits", [(), EDITS], ids=["clean", "under_interventions"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_component_equals_a_whole_forward_without_it(
    tiny: Tiny, tiny_reference: TinyReference, family: str, edits: Sequence[Edit]
) -> None:
    """All heads and MLPs at once, where rows begin at every layer, and one alone, where layers are left out."""
    engine, reference, ids = tiny(family), tiny_reference(family), tokens_of(family)
    _, captured = newest(engine, ids, edits)
    parts, distractors = all_components(engine), (DISTRACTOR, None)
    of_pairs = expected(reference, ids, edits, parts, TARGET, distractors)
    for distractor, wanted in zip(distractors, of_pairs, strict=True):
        found = captured.measured_effects(parts, target_id=TARGET, distractor_id=distractor)
        scale = max(1.0, float(np.abs(wanted).max()))
        assert float(np.abs(found - wanted).max()) <= 1e-4 * scale
        assert float(np.abs(wanted).max()) > 0.01, "nothing happened"
        for number in (0, len(parts) - 3):  # the last MLP and the last head
            alone = captured.measured_effects([parts[number]], target_id=TARGET, distractor_id=distractor)
            assert float(alone[0]) == pytest.approx(wanted[number], abs=1e-4 * scale)
    assert engine.hooks_left() == 0


def zeroed_last(part: Component, d_head: int, ids: Sequence[int]) -> tuple[Case, torch.Tensor]:
    """By hand: this component's output is 0, at the last position alone."""
    sites = {"head": "z", "neuron": "neurons", "attn": "attn", "mlp": "mlp"}
    width = {"head": d_head, "neuron": 1}.get(part.kind)
    columns = slice(None) if width is None else slice(part.index * width, (part.index + 1) * width)

    def put_zero(x: torch.Tensor) -> torch.Tensor:
        x = x.clone()
        x[:, columns] = 0.0
        return x

    spec = InterventionSpec("zeroed", "zero", [part])
    return Case(spec=spec, hands={(sites[part.kind], part.layer): put_zero}), torch.arange(len(ids)) == len(ids) - 1


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_under_every_operation_at_once(tiny: Tiny, tiny_reference: TinyReference, family: str) -> None:
    """Streams added to (before the first layer too), values replaced, attention rows written: each comes first."""
    engine, reference = tiny(family), tiny_reference(family)
    world = world_of(engine, reference, layer=1, heads=(1, 3), neuron=20)
    made, ids = cases(world), operations.IDS
    resources = RunResources(operations.Words(engine), ids[:9], Surroundings(directions={"d": world.direction.numpy()}))
    for names in (operations.NAMES, operations.NAMES[::-1]):
        specs = [at_positions(made[name], name, Positions()) for name in names]
        masks = masks_from(specs, engine.info, resources)
        own = [(made[name], operations.held_at(made[name], 3, Positions(), ids)) for name in names]
        parts, pos = all_components(engine), len(ids) - 1
        clean = reference.metric(forward_by_hand(reference, ids, hands_of(own)), pos, TARGET, DISTRACTOR)
        without = (
            forward_by_hand(reference, ids, hands_of([*own, zeroed_last(part, world.d_head, ids)])) for part in parts
        )
        wanted = np.array([clean - reference.metric(seen, pos, TARGET, DISTRACTOR) for seen in without])
        scale = max(1.0, float(np.abs(wanted).max()))
        assert float(np.abs(wanted).max()) > 0.01, "nothing happened"
        for n_last in (1, 4):  # the newest position alone, or the last of several in one call
            sequence = engine.open_sequence()
            sequence.forward(ids[:3], masks=None, channels=CAUSAL)
            sequence.forward(ids[3:-n_last], masks=masks, channels=CAUSAL)
            captured = sequence.forward(ids[-n_last:], masks=masks, channels=CAUSAL)
            found = captured.measured_effects(parts, target_id=TARGET, distractor_id=DISTRACTOR)
            assert float(np.abs(found - wanted).max()) <= 1e-4 * scale


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_it_equals_the_answer_to_request_effects(tiny: Tiny, tiny_reference: TinyReference, family: str) -> None:
    engine, reference, ids = tiny(family), tiny_reference(family), tokens_of(family)
    _, captured = newest(engine, ids, EDITS)
    parts, pos = all_components(engine), len(ids) - 1
    metric = metric_of(reference, reference.run(ids, EDITS), pos, TARGET, DISTRACTOR)
    question = RequestEffects(
        request_id=1, run_id="r", metric=MetricQuestion(pos=pos), scope="listed", components=parts, everywhere=False
    )
    _, answer = answered(measure_effects(question, metric, ids, segments_of(EDITS, len(ids), engine), parts_of(engine)))
    found = captured.measured_effects(parts, target_id=TARGET, distractor_id=DISTRACTOR)
    assert np.abs(found - reconstruct(answer.effects)).max() <= 1e-4 * max(1.0, float(np.abs(found).max()))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_run_does_not_notice(tiny: Tiny, family: str) -> None:
    """The cache is the same memory with the same bits; what comes next is the same; no hook, no changed module."""
    engine, ids = tiny(family), tokens_of(family)
    measured_sequence, captured = newest(engine, ids, EDITS)
    plain_sequence, _ = newest(engine, ids, EDITS)
    cache = measured_sequence._rows.cache
    assert cache is not None
    before = [(layer.keys, layer.keys.clone(), layer.values, layer.values.clone()) for layer in cache.layers]
    captured.measured_effects(all_components(engine), target_id=TARGET, distractor_id=None)
    for layer, (keys, keys_then, values, values_then) in zip(cache.layers, before, strict=True):
        assert layer.keys is keys and layer.values is values
        assert torch.equal(keys, keys_then) and torch.equal(values, values_then)
    assert not [parts for parts in engine.anatomy.layers if "forward" in parts.block.__dict__]
    assert engine.hooks_left() == 0
    after = [
        sequence.forward([9], masks=None, channels=CAUSAL).logits for sequence in (measured_sequence, plain_sequence)
    ]
    assert np.array_equal(*after)


@pytest.mark.usefixtures("one_thread")
def test_only_the_newest_position_can_be_measured(tiny: Tiny) -> None:
    engine, ids = tiny("llama"), tokens_of("llama")
    part = [Component(kind="mlp", layer=1)]
    sequence, captured = newest(engine, ids, ())
    older = sequence.forward([4], masks=None, channels=CAUSAL)
    with pytest.raises(EngineError, match="moved on"):
        captured.measured_effects(part, target_id=TARGET, distractor_id=None)
    sequence.truncate(len(ids))
    with pytest.raises(EngineError, match="moved on"):
        older.measured_effects(part, target_id=TARGET, distractor_id=None)
    newer = sequence.forward([4], masks=None, channels=CAUSAL)
    assert newer.measured_effects(part, target_id=TARGET, distractor_id=None).shape == (1,)
    sequence.close()
    with pytest.raises(EngineError, match="moved on"):
        newer.measured_effects(part, target_id=TARGET, distractor_id=None)


@pytest.mark.usefixtures("one_thread")
def test_nothing_is_left_behind_by_a_fault(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory that runs out in the middle: told as such, and the run goes on."""
    engine, ids = tiny("llama"), tokens_of("llama")
    _, captured = newest(engine, ids, ())
    part = [Component(kind="mlp", layer=2)]
    before = captured.measured_effects(part, target_id=TARGET, distractor_id=None)

    def fails(*args: object, **kwargs: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(engine.anatomy.layers[2].mlp, "forward", fails)
        with pytest.raises(EngineError, match="out of memory"):
            captured.measured_effects(part, target_id=TARGET, distractor_id=None)
    assert engine.hooks_left() == 0
    assert not [parts for parts in engine.anatomy.layers if "forward" in parts.block.__dict__]
    assert np.array_equal(captured.measured_effects(part, target_id=TARGET, distractor_id=None), before)


# ---------------------------------------------------------------------- the shipped model, over the wire


def test_every_tiny_model_says_that_it_can(tiny: Tiny) -> None:
    for family in FAMILIES:
        assert "causal_effects" in tiny(family).info.capabilities.channels, family


OWN = [
    InterventionSpec(
        intervention_id="own",
        operation="zero",
        components=[Component(kind="head", layer=20, index=0), Component(kind="mlp", layer=25)],
    )
]
OWN_EDIT = Edit(start=8, stop=1000, heads={(20, 0): 0.0}, mlp={25: 0.0})


@pytest.mark.parametrize("own", [False, True], ids=["clean", "under_interventions"])
async def test_streamed_effects_equal_a_plain_forward_and_the_question(
    shipped: TorchEngine, shipped_reference: Reference, own: bool
) -> None:
    """The tokens are those without the switch, and each effect is what a forward without the component gives."""
    sampling = Sampling(max_new_tokens=8, stop_at_eos=False)
    log = [InterventionSegment(from_pos=8, interventions=OWN)] if own else []
    edits = [OWN_EDIT] if own else []
    async with serving(shipped) as served, served.client() as client:
        plain = await client.start_run(MARY, channels=("heads",), sampling=sampling, intervention_log=log)
        await plain.finished()
        channels: tuple[Channel, ...] = ("direct_logit", "causal_effects")
        run = await client.start_run(MARY, channels=channels, sampling=sampling, intervention_log=log)
        await run.finished()
        assert run.token_ids == plain.token_ids
        for pos in (run.n_prompt_tokens - 1, run.n_prompt_tokens + 4):
            step = run.steps[pos]
            found, target = step.causal_effects, step.info.direct_target_id
            assert len(found) == N_COMPONENTS and target == run.token_ids[pos + 1]
            strongest = np.sort(np.abs(np.concatenate([step.direct_heads.ravel(), step.direct_mlps])))[::-1]
            attributed = np.abs([each.attributed for each in found])
            assert np.allclose(attributed, strongest[:N_COMPONENTS], rtol=1e-4)
            parts, measured = [each.component for each in found], np.array([each.measured for each in found])
            (wanted,) = expected(shipped_reference, run.token_ids[: pos + 1], edits, parts, target)
            assert float(np.abs(measured - wanted).max()) <= 1e-4 * max(1.0, float(np.abs(wanted).max()))
            answer = await client.measure(run, pos=pos, target=target, against_mean=True, components=parts)
            assert float(np.abs(measured - answer.effects).max()) <= 1e-4 * max(1.0, float(np.abs(wanted).max()))
        assert all(not step.tensors.get("causal_kind", np.zeros(0)).size for pos, step in run.steps.items() if pos < 13)
