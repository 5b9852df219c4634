"""Directions over the wire: held by content, refused in words, used by interventions; and other runs as references."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.session.hub import Hub, SimViewer

from livelens.model.fake import FakeEngine
from livelens.protocol.messages import (
    Component,
    DirectionStored,
    ErrorReport,
    InterventionsApplied,
    InterventionSegment,
    InterventionSpec,
    PutDirection,
    Reference,
    Sampling,
    SetInterventions,
    StreamPlace,
)
from livelens.session.directions import MAX_DIRECTIONS

SAMPLING = Sampling(max_new_tokens=20, stop_at_eos=False)


def hub() -> Hub:
    return Hub(FakeEngine(n_layers=2, n_heads=2, d_mlp=16, n_ctx=64))


def put(viewer: SimViewer, vector: np.ndarray, name: str = "mine") -> DirectionStored | ErrorReport:
    data = np.ascontiguousarray(vector, "<f4").tobytes()
    answer = viewer.ask(PutDirection(request_id=viewer.next_id(), name=name, data=data))
    assert isinstance(answer, DirectionStored | ErrorReport)
    return answer


def held(viewer: SimViewer, seed: int = 0) -> tuple[str, np.ndarray]:
    vector = np.random.default_rng(seed).standard_normal(viewer.hub.engine.info.d_model).astype(np.float32)
    answer = put(viewer, vector)
    assert isinstance(answer, DirectionStored)
    return answer.direction.direction_id, vector


def intervene(viewer: SimViewer, *specs: InterventionSpec) -> InterventionsApplied | ErrorReport:
    command = SetInterventions(
        request_id=viewer.next_id(), run_id=viewer.run.run_id, interventions=list(specs), mode="recompute"
    )
    answer = viewer.ask(command)
    assert isinstance(answer, InterventionsApplied | ErrorReport)
    return answer


def steer(direction_id: str, amount: float = 3.0) -> InterventionSpec:
    return InterventionSpec(
        "s", "add_direction", [], amount, direction_id=direction_id, stream=[StreamPlace(0)], unit="norm"
    )


def test_equal_vectors_are_one_direction_and_its_length_is_told() -> None:
    viewer = hub().viewer()
    first, vector = held(viewer)
    again = put(viewer, vector, name="another name")
    assert isinstance(again, DirectionStored) and again.direction.direction_id == first
    assert again.direction.norm == pytest.approx(float(np.linalg.norm(vector)), rel=1e-6)
    other, _ = held(viewer, seed=1)
    assert other != first


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda v: v[:-1], "float32 values"),
        (lambda v: np.append(v, 0), "float32 values"),
        (lambda v: np.where(np.arange(len(v)) == 3, np.nan, v), "NaN"),
        (lambda v: np.where(np.arange(len(v)) == 3, np.inf, v), "infinity"),
        (lambda v: v * 0, "nowhere"),
    ],
)
def test_a_vector_that_cannot_steer_is_refused(spoil: object, reason: str) -> None:
    viewer = hub().viewer()
    d_model = viewer.hub.engine.info.d_model
    answer = put(viewer, spoil(np.ones(d_model, np.float32)))  # type: ignore[operator]
    assert isinstance(answer, ErrorReport) and answer.code == "bad_direction" and reason in answer.message


def test_a_direction_that_is_not_held_is_refused_and_one_that_is_steers() -> None:
    viewer = hub().viewer(channels=["residual"])
    viewer.start(sampling=SAMPLING, start_paused=True)
    refused = intervene(viewer, steer("nobody put this"))
    assert isinstance(refused, ErrorReport) and refused.code == "direction_unknown"
    viewer.hub.work(60)
    viewer.drain()
    before = viewer.run.steps[3].residual
    direction_id, _ = held(viewer)
    assert isinstance(intervene(viewer, steer(direction_id, amount=50.0)), InterventionsApplied)
    viewer.hub.work(60)
    viewer.drain()
    after = viewer.run.steps[3].residual
    assert after[0] == before[0] and after[1] > before[1] + 20


def test_the_least_recently_used_is_let_go_of_first() -> None:
    viewer = hub().viewer()
    first, _ = held(viewer, seed=0)
    second, _ = held(viewer, seed=1)
    viewer.start(sampling=SAMPLING, start_paused=True)
    assert isinstance(intervene(viewer, steer(first)), InterventionsApplied)  # used just now
    for seed in range(2, MAX_DIRECTIONS + 1):
        held(viewer, seed)
    gone = intervene(viewer, steer(second))
    assert isinstance(gone, ErrorReport) and gone.code == "direction_unknown"
    assert isinstance(intervene(viewer, steer(first)), InterventionsApplied)


def test_values_of_another_run_and_of_none() -> None:
    viewer = hub().viewer(channels=["neurons"])
    viewer.start(sampling=SAMPLING, start_paused=True)
    viewer.hub.work(60)
    viewer.drain()
    other, loud = viewer.run.run_id, viewer.run.steps[2].neurons[1, 5]
    watcher = viewer.hub.viewer(channels=["neurons"])
    watcher.start(prompt="The Eiffel Tower is in", sampling=SAMPLING, start_paused=True)
    neuron = Component("neuron", 1, 5)
    spec = InterventionSpec("r", "resample", [neuron], reference=Reference("run", run_id=other, pos=2))
    assert isinstance(intervene(watcher, spec), InterventionsApplied)
    watcher.hub.work(60)
    watcher.drain()
    shown = [step.neurons[1, 5] for step in watcher.run.steps.values()]
    assert len(shown) >= 4 and np.allclose(shown, loud, rtol=0.05)
    nobody = InterventionSpec("r", "resample", [neuron], reference=Reference("run", run_id="nobody's"))
    refused = intervene(watcher, nobody)
    assert isinstance(refused, ErrorReport) and refused.code == "run_unknown"


def test_the_model_thread_s_refusal_is_told_and_changes_nothing() -> None:
    viewer = hub().viewer()
    viewer.start(sampling=SAMPLING, start_paused=True)
    before = viewer.hub.session.records[viewer.run.run_id].revision
    neuron = Component("neuron", 1, 5)
    refused = intervene(viewer, InterventionSpec("m", "resample", [neuron], reference=Reference("text", ["a"], pos=60)))
    assert (
        isinstance(refused, ErrorReport) and refused.code == "bad_interventions" and "no position 60" in refused.message
    )
    assert viewer.hub.session.records[viewer.run.run_id].revision == before
    answer = viewer.start(sampling=SAMPLING, intervention_log=[_segment(Reference("text", ["a"], pos=60))])
    assert isinstance(answer, ErrorReport) and answer.code == "bad_interventions"


def _segment(reference: Reference) -> InterventionSegment:
    return InterventionSegment(0, [InterventionSpec("m", "resample", [Component("neuron", 1, 5)], reference=reference)])
