"""Two runs side by side on the small engine: lengths, lines of tokens, what is kept between questions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from livelens.client.comparison import Comparison, comparison_of
from livelens.model.comparison import first_difference, planned_tokens
from livelens.model.engine import AnalysisContext, AnalysisRefusedError, ContextSegment, LogitPair
from livelens.model.fake import FakeEngine
from livelens.model.interventions import masks_from
from livelens.protocol.messages import CHANNELS, Component, InterventionSpec, RequestComparison

PROMPT = "When Mary and John went to the store"
OTHER = "When Mary and Mary went to the store"


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine(n_layers=3, n_heads=2, d_mlp=24)


def context_of(engine: FakeEngine, *, ablated_from: int | None = None) -> AnalysisContext:
    ids = engine.tokenize(PROMPT, apply_chat_template=False)
    segments = [ContextSegment(from_pos=0, revision=0, masks=None)]
    if ablated_from is not None:
        spec = InterventionSpec(intervention_id="a", operation="zero", components=[Component("head", 1, 0)])
        masks = masks_from([spec], engine.info)
        segments.append(ContextSegment(from_pos=ablated_from, revision=1, masks=masks))
    return AnalysisContext(token_ids=(*ids, 5), n_prompt=len(ids), n_positions=len(ids), segments=tuple(segments))


def asked(engine: FakeEngine, context: AnalysisContext, pos: int, **options: object) -> Comparison:
    question = RequestComparison(request_id=1, run_id="r", pos=pos, **options)  # type: ignore[arg-type]
    *_, answer = engine.analyse(question, context)
    return comparison_of(answer)  # type: ignore[arg-type]


def by_hand(engine: FakeEngine, text: str, pos: int) -> dict[str, np.ndarray]:
    """A position's channels, its run forwarded alone in one call."""
    ids = engine.tokenize(text, apply_chat_template=False)[: pos + 1]
    made = engine.open_sequence().forward(ids, masks=None, channels=frozenset(CHANNELS))
    arrays = made.arrays(pos, channels=frozenset(CHANNELS), chosen_id=5, pair=LogitPair(target_id=5))
    assert arrays.direct is not None
    return {name: getattr(arrays, name) for name in ("neurons", "heads", "attention", "residual", "mlp_out")} | {
        "direct_heads": arrays.direct.heads
    }


def test_the_difference_is_that_of_two_runs_made_by_hand(engine: FakeEngine) -> None:
    found = asked(engine, context_of(engine), 6, other_prompt=OTHER, target=5)
    own, other = by_hand(engine, PROMPT, 6), by_hand(engine, OTHER, 6)
    for name, values in other.items():
        assert (found.other[name] == values).all(), name
        assert (found.difference[name] == own[name] - values).all(), name
    assert found.differing == [found.first_difference]
    assert found.other_tokens[found.differing[0]].strip() == "Mary"
    strongest = np.abs(found.difference["direct_neuron_value"])
    assert (np.diff(strongest) <= 0).all()


def test_nothing_differs_before_the_first_other_token_in_whatever_order_it_is_asked(engine: FakeEngine) -> None:
    context = context_of(engine)
    first = asked(engine, context, 0, other_prompt=OTHER).first_difference
    assert first is not None
    for pos in (first + 2, first - 1, first, 0):
        found = asked(engine, context, pos, other_prompt=OTHER)
        assert any(values.any() for values in found.difference.values()) == (pos >= first)
    same = asked(engine, context, first + 2, other_prompt=PROMPT)
    assert not any(values.any() for values in same.difference.values())
    assert same.first_difference is None


def test_without_its_interventions_a_run_differs_from_where_they_hold(engine: FakeEngine) -> None:
    context = context_of(engine, ablated_from=4)
    before = asked(engine, context, 3, without_interventions=True)
    assert not any(values.any() for values in before.difference.values())
    behind = asked(engine, context, 5, without_interventions=True)
    assert behind.first_difference == 4
    assert behind.differing == []
    assert behind.difference["heads"][1, 0] == -behind.other["heads"][1, 0] < 0
    kept = asked(engine, context, 5)
    assert not any(values.any() for values in kept.difference.values())


def test_what_was_generated_follows_a_prompt_of_as_many_tokens_only(engine: FakeEngine) -> None:
    context = context_of(engine)
    context = replace(context, n_positions=len(context.token_ids))
    question = RequestComparison(request_id=1, run_id="r", pos=0, other_prompt=OTHER)
    own, other = planned_tokens(question, context, engine)
    assert [token.token_id for token in other][-1] == own[-1].token_id == 5
    assert first_difference(own, own) is None
    short = RequestComparison(request_id=1, run_id="r", pos=0, other_prompt="When Mary")
    n = len(engine.tokenize("When Mary", apply_chat_template=False))
    assert len(planned_tokens(short, context, engine)[1]) == n < context.n_prompt
    with pytest.raises(AnalysisRefusedError, match=f"has {n} tokens: positions 0 to {n - 1}"):
        asked(engine, context, n, other_prompt="When Mary")


def test_tokens_that_are_none_or_one_and_the_same_are_refused(engine: FakeEngine) -> None:
    context = context_of(engine)
    for options, match in (
        ({"target": 10**6}, "the target 1000000 is not in the vocabulary"),
        ({"target": 5, "distractor": 5}, "differ"),
        ({"distractor": int(context.token_ids[2])}, "both"),
    ):
        with pytest.raises(AnalysisRefusedError, match=match):
            asked(engine, context, 1, other_prompt=OTHER, **options)
