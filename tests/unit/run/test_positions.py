"""Where interventions act in a run, what a set cannot reach, and that a log gives the same tokens again."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import pytest
from tests.unit.run.driving import ALL, small_engine
from tests.unit.run.driving import Driven as AnyDriven

from livelens.protocol.messages import (
    AttentionEdit,
    Component,
    InterventionSegment,
    InterventionSpec,
    Positions,
    Reference,
    Sampling,
)
from livelens.run.opening import RefusedError

# Without what is measured or read out later: each position comes once.
Driven = partial(AnyDriven, channels=ALL - {"logit_lens", "causal_effects"})
NEURON = Component("neuron", 1, 5)
SAMPLED = Sampling(max_new_tokens=14, temperature=1.2, seed=3, stop_at_eos=False)


def value(amount: float, positions: Positions, name: str = "v") -> InterventionSpec:
    """Sets a neuron, so that the steps show where it acts."""
    return InterventionSpec(name, "set", [NEURON], amount, positions=positions)


def acted_at(driven: AnyDriven, amount: float) -> list[int]:
    driven.read_all()
    shown = {pos: exact.neurons[1, 5] for pos, exact in driven.latest.items()}
    return sorted(pos for pos, neuron in shown.items() if neuron == np.float32(amount))


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        (Positions(), range(99)),
        (Positions("all"), range(99)),
        (Positions("range", 3, 9), range(3, 9)),
        (Positions("range", 12), range(12, 99)),
    ],
)
def test_an_intervention_acts_at_its_positions_and_at_no_other(positions: Positions, expected: range) -> None:
    driven = Driven(small_engine(), sampling=SAMPLED, log=[InterventionSegment(0, [value(7.5, positions)])]).go()
    n = driven.run.n_computed
    assert acted_at(driven, 7.5) == [pos for pos in expected if pos < n] + (
        [*range(20, n)] if expected.stop == 20 else []
    )


def test_only_where_the_token_is_one_of_some() -> None:
    engine = small_engine()
    wanted = engine.token_ids(" John") + engine.token_ids(" to")
    spec = value(7.5, Positions("tokens", token_ids=wanted))
    driven = Driven(engine, sampling=SAMPLED, log=[InterventionSegment(0, [spec])]).go()
    here = [pos for pos in range(driven.run.n_computed) if driven.run.tokens[pos] in wanted]
    assert len(here) >= 3 and acted_at(driven, 7.5) == here


def started(n_tokens: int = 3) -> AnyDriven:
    return Driven(small_engine(), sampling=SAMPLED).go(n_tokens)


def test_a_range_before_the_set_needs_recompute_and_the_refusal_says_from_where() -> None:
    driven = started()
    before = (list(driven.run.tokens), driven.run.segments)
    for positions in (Positions("range", 2, 40), Positions("all")):
        with pytest.raises(RefusedError, match=r"Recompute from position") as refusal:
            driven.intervene([value(7.5, positions)])
        assert refusal.value.code == "positions_out_of_reach"
    assert (driven.run.tokens, driven.run.segments) == before
    driven.intervene([value(7.5, Positions("range", 2, 5))], mode="recompute", recompute_from=2)
    assert acted_at(driven.go(), 7.5) == [2, 3, 4]


def test_recompute_from_a_position_after_the_range_is_refused_too() -> None:
    driven = started()
    with pytest.raises(RefusedError, match="Recompute from position 2"):
        driven.intervene([value(7.5, Positions("range", 2, 5))], mode="recompute", recompute_from=3)


def test_a_position_that_the_run_cannot_have_is_refused() -> None:
    with pytest.raises(RefusedError, match="outside the run"):
        started().intervene([value(7.5, Positions("range", 100))])


def test_what_was_in_force_there_may_stay_in_the_list() -> None:
    """The page sends the whole set at every change."""
    driven = started()
    ranged = value(7.5, Positions("range", driven.run.n_computed, driven.run.n_computed + 3))
    driven.intervene([ranged])
    driven.go(8)
    other = InterventionSpec("other", "zero", [Component("head", 0, 1)])
    driven.intervene([ranged, other])
    with pytest.raises(RefusedError, match="Recompute"):
        driven.intervene([value(8.0, ranged.positions), other])


def test_a_disabled_intervention_is_out_of_reach_of_nothing() -> None:
    driven = started()
    spec = InterventionSpec("v", "set", [NEURON], 1.0, enabled=False, positions=Positions("all"))
    driven.intervene([spec])
    assert driven.run.segments[-1].interventions == [spec]


def test_a_reference_that_cannot_be_had_is_refused_and_the_run_goes_on() -> None:
    driven = started()
    for reference, reason in (
        (Reference("run", run_id="nobody"), "no longer has the run"),
        (Reference("text", ["word " * 20] * 12), "at most 1024"),
        (Reference("text", ["word " * 3000]), "this model takes 1 to 128"),
    ):
        with pytest.raises(RefusedError, match=reason):
            driven.intervene([InterventionSpec("m", "mean", [NEURON], reference=reference)])
    with pytest.raises(RefusedError, match="no position 99"):
        spec = InterventionSpec("r", "resample", [NEURON], reference=Reference("text", ["John"], pos=99))
        driven.intervene([spec])
    with pytest.raises(RefusedError, match="holds no direction"):
        spec = InterventionSpec("s", "set", [Component("mlp", 1)], direction_id="gone")
        driven.intervene([spec])
    assert driven.go().run.finish_reason == "max_new_tokens"


def everything() -> Sequence[InterventionSpec]:
    head = Component("head", 1, 0)
    return [
        InterventionSpec("mean", "mean", [Component("head", 0, 1)], reference=Reference("prompt")),
        InterventionSpec(
            "resample", "resample", [Component("mlp", 2)], reference=Reference("text", ["John gave to Mary"])
        ),
        InterventionSpec("row", "attention_turn", [head], attention=AttentionEdit([2, 3], [1.0, 2.0])),
        InterventionSpec(
            "scale", "scale", [Component("attn", 2)], -2.0, positions=Positions("tokens", token_ids=[3, 9])
        ),
        value(2.0, Positions("range", 21, 25)),
    ]


def test_a_log_replays_to_the_same_tokens_and_the_same_values() -> None:
    engine = small_engine()
    first = Driven(engine, sampling=SAMPLED).go(4)
    first.intervene(everything())
    first.go(9)
    first.intervene([*everything()[:2], InterventionSpec("off", "zero", [Component("attn", 1)])])
    first.go().read_all()
    log = [InterventionSegment(s.from_pos, list(s.interventions)) for s in first.run.segments]
    second = Driven(engine, sampling=SAMPLED, log=log).go().read_all()
    plain = Driven(engine, sampling=SAMPLED).go()
    assert second.run.tokens == first.run.tokens != plain.run.tokens
    for pos, exact in first.latest.items():
        for name in ("neurons", "heads", "attention", "residual"):
            assert np.array_equal(getattr(exact, name), getattr(second.latest[pos], name)), (pos, name)


def test_direct_logit_sums_to_the_metric_under_every_operation() -> None:
    driven = Driven(small_engine(), sampling=SAMPLED, log=[InterventionSegment(0, list(everything()))])
    driven.go().read_all()
    assert driven.latest
    for exact in driven.latest.values():
        direct = exact.direct
        parts = [direct.heads.ravel(), direct.mlps, direct.attn_bias, [direct.embed, direct.final_bias]]
        assert float(np.concatenate(parts).sum(dtype=np.float64)) == pytest.approx(direct.total, abs=2e-4)
