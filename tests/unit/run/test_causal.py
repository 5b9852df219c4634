"""Live causal on the fake engine: what is measured, when, and that the run does not notice."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.run.driving import ALL, PROMPT, Driven, small_engine, zero

from livelens.model.engine import CausalEffects, EngineError
from livelens.model.fake import FakeEngine
from livelens.model.fake.captured import FakeCaptured
from livelens.model.interventions import masks_from
from livelens.protocol.messages import (
    CAUSAL_KINDS,
    AttentionEdit,
    Component,
    InterventionSegment,
    InterventionSpec,
    Positions,
)
from livelens.run.causal import N_COMPONENTS
from livelens.run.quantise import quantised

CAUSAL = frozenset({"causal_effects"})
OWN = [zero(("head", 1, 0), ("mlp", 0, 0))]
PLACED = [
    InterventionSpec("set", "set", [Component("neuron", 1, 5)], 2.0),
    InterventionSpec("double", "scale", [Component("mlp", 2)], 2.0, True, Positions("range", 3, 100)),
    InterventionSpec("blind", "attention_knockout", [Component("head", 2, 1)], attention=AttentionEdit([0, 1])),
]


def measured_of(driven: Driven) -> dict[int, CausalEffects]:
    return {step.pos: exact.causal for step, exact in driven.steps if exact.causal is not None}


def logits_after(
    engine: FakeEngine, tokens: list[int], own: list[InterventionSpec], also: list[InterventionSpec]
) -> np.ndarray:
    """Logits after the last token: all under `own`, the last one under `also` too."""
    sequence = engine.open_sequence()
    for token_id in tokens[:-1]:
        sequence.forward([token_id], masks=masks_from(own, engine.info), channels=frozenset())
    last = sequence.forward(tokens[-1:], masks=masks_from([*own, *also], engine.info), channels=frozenset())
    return last.logits


@pytest.mark.parametrize("own", [[], OWN, PLACED], ids=["clean", "under_ablations", "under_operations"])
def test_each_effect_is_that_of_a_forward_without_the_component(own: list[InterventionSpec]) -> None:
    engine = small_engine()
    log = [InterventionSegment(from_pos=0, interventions=own)] if own else []
    driven = Driven(engine, log=log, target=" Mary", distractor=" John").go(5)
    found, tokens = measured_of(driven), driven.run.tokens
    n_prompt = len(driven.prompt_ids)
    assert sorted(found) == list(range(n_prompt - 1, n_prompt + 4)), "every generated token, and no other"
    for pos, causal in found.items():
        assert len(causal.components) == N_COMPONENTS
        target, distractor = causal.target_id, causal.distractor_id
        assert (target, distractor) == (engine.token_ids(" Mary")[0], engine.token_ids(" John")[0])
        clean = logits_after(engine, tokens[: pos + 1], own, [])
        for component, measured in zip(causal.components, causal.measured, strict=True):
            without = zero((component.kind, component.layer, component.index), name="also")
            logits = logits_after(engine, tokens[: pos + 1], own, [without])
            expected = (clean[target] - clean[distractor]) - (logits[target] - logits[distractor])
            assert measured == pytest.approx(float(expected), abs=1e-4)
    assert max(float(np.abs(causal.measured).max()) for causal in found.values()) > 0.1, "nothing happened"


def test_the_measured_ones_are_those_with_the_largest_direct_contributions() -> None:
    driven = Driven(small_engine()).go(3)
    for step, exact in driven.steps:
        direct, causal = exact.direct, exact.causal
        assert direct is not None and causal is not None
        every = np.concatenate([direct.heads.ravel(), direct.mlps])
        assert np.array_equal(np.abs(causal.attributed), np.sort(np.abs(every))[::-1][:N_COMPONENTS])
        for component, attributed in zip(causal.components, causal.attributed, strict=True):
            row = direct.heads[component.layer] if component.kind == "head" else direct.mlps[[component.layer]]
            assert row[component.index] == attributed
        assert step.direct_target_id == causal.target_id == step.chosen_id


def test_the_text_and_all_else_is_the_same_with_and_without() -> None:
    with_it, without = Driven(small_engine()).go(), Driven(small_engine(), channels=ALL - CAUSAL).go()
    assert with_it.run.tokens == without.run.tokens
    assert not measured_of(without)
    for pos, exact in without.latest.items():
        here = quantised(with_it.latest[pos])
        for name, array in quantised(exact).items():
            assert np.array_equal(here[name], array), name


def test_it_needs_no_other_channel() -> None:
    """And says what was explained."""
    engine = small_engine()
    alone = Driven(engine, channels=CAUSAL).go(3)
    every = measured_of(Driven(engine).go(3))
    for step, exact in alone.steps:
        assert exact.direct is None and exact.neurons is None
        assert exact.causal is not None
        assert np.array_equal(exact.causal.measured, every[step.pos].measured)
        assert step.direct_target_id == exact.causal.target_id


def test_what_is_computed_again_is_not_measured() -> None:
    driven = Driven(small_engine()).go(4)
    driven.steps.clear()
    driven.intervene(OWN, mode="recompute")
    driven.go(5).read_all()
    n_prompt = len(driven.prompt_ids)
    assert sorted({step.pos for step, _ in driven.steps}) == list(range(n_prompt + 4))
    assert list(measured_of(driven)) == [n_prompt + 3]


def test_a_switch_thrown_while_the_first_token_is_held_takes_effect_at_the_next() -> None:
    """What was not captured cannot be shown: not a fault, but one token without."""
    driven = Driven(small_engine(), start_paused=True, channels=frozenset({"heads"})).go()
    driven.run.want_channels(ALL)
    driven.run.step_once(None)
    driven.go()
    driven.run.step_once(None)
    driven.go()
    (_, first), (_, second) = driven.steps
    assert first.heads is not None and first.causal is None and first.neurons is None
    assert second.causal is not None and second.neurons is not None


def test_a_token_that_cannot_be_measured_is_told_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise EngineError("out of memory")

    monkeypatch.setattr(FakeCaptured, "measured_effects", fails)
    driven = Driven(small_engine()).go(2)
    assert len(driven.steps) == 2 and not measured_of(driven)
    assert driven.run.finish_reason is None


def test_only_the_newest_position_can_be_measured() -> None:
    engine = small_engine()
    sequence = engine.open_sequence()
    tokens = engine.tokenize(PROMPT, apply_chat_template=False)
    part = [Component(kind="mlp", layer=1)]
    first = sequence.forward(tokens, masks=None, channels=CAUSAL)
    before = sequence._cache.copy()
    assert first.measured_effects(part, target_id=5, distractor_id=None).shape == (1,)
    assert np.array_equal(sequence._cache, before), "the cache is as it was"
    sequence.forward([7], masks=None, channels=CAUSAL)
    with pytest.raises(EngineError, match="moved on"):
        first.measured_effects(part, target_id=5, distractor_id=None)
    sequence.truncate(len(tokens))
    with pytest.raises(EngineError, match="moved on"):
        first.measured_effects(part, target_id=5, distractor_id=None)


def test_the_wire_says_which_and_how_much() -> None:
    driven = Driven(small_engine()).go(1)
    exact = driven.steps[0][1]
    arrays, causal = quantised(exact), exact.causal
    assert causal is not None
    kinds = [CAUSAL_KINDS[int(kind)] for kind in arrays["causal_kind"]]
    parts = zip(kinds, arrays["causal_layer"].tolist(), arrays["causal_index"].tolist(), strict=True)
    assert [Component(kind=kind, layer=layer, index=index) for kind, layer, index in parts] == list(causal.components)
    assert np.array_equal(arrays["causal_measured"], causal.measured)
    assert arrays["causal_attributed"].dtype == arrays["causal_measured"].dtype == np.float32
