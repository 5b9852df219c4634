"""Sessions in plain functions: lag, keyframes, grace, floods, answers."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.session.hub import PROMPT, Hub, greedy

from livelens.model.engine import EngineError
from livelens.protocol.messages import (
    CHANNELS,
    Component,
    ErrorReport,
    InterventionSpec,
    JoinRun,
    Ping,
    Pong,
    Reference,
    RequestPositions,
    RequestValues,
    RunFinished,
    SetInterventions,
    Step,
    StepOnce,
)
from livelens.session import record as record_module
from livelens.session.outbox import ANSWERS_LIMIT_BYTES
from livelens.session.record import StepEntry


def steps_of(events: list[object]) -> list[Step]:
    return [event for event in events if isinstance(event, Step)]


def test_a_viewer_that_lags_keeps_its_tokens_and_gets_a_keyframe_afterwards() -> None:
    hub = Hub()
    quick, slow = hub.viewer(), hub.viewer()
    quick.start(sampling=greedy(30))
    assert quick.run is not None
    slow.join(quick.run.run_id)
    for _ in range(20):
        hub.work()
        hub.now += 0.5
        quick.drain()
    steps = steps_of(slow.drain())
    assert [step.detail_dropped for step in steps].count(True) >= 10
    assert [step.token_id for step in steps if step.generated] == [
        step.info.token_id for pos, step in sorted(quick.run.steps.items()) if step.info.generated
    ]
    first_full = next(step for step in steps[steps.index(_last_dropped(steps)) :] if step.tensors.neurons is not None)
    assert first_full.base_seq == -1
    assert not any(step.info.detail_dropped for step in quick.run.steps.values()), "the quick one lost nothing"


def _last_dropped(steps: list[Step]) -> Step:
    return [step for step in steps if step.detail_dropped][-1]


def test_a_viewer_costs_no_more_for_being_behind() -> None:
    hub = Hub()
    quick, stalled = hub.viewer(), hub.viewer()
    quick.start(sampling=greedy(30))
    assert quick.run is not None
    stalled.join(quick.run.run_id)
    hub.work_all()
    outbox = hub.session.viewers[stalled.viewer_id].outbox
    assert outbox._answers_bytes < ANSWERS_LIMIT_BYTES
    assert outbox.has_something


def test_equal_frames_of_two_viewers_are_packed_once() -> None:
    hub = Hub()
    first, second = hub.viewer(), hub.viewer()
    first.start(sampling=greedy(5), start_paused=True)
    assert first.run is not None
    second.join(first.run.run_id)
    hub.work_all()
    first.drain(), second.drain()
    first.send(StepOnce(request_id=first.next_id(), run_id=first.run.run_id))
    hub.work_all()
    keys = [
        {frame.key for _ in range(9) if (frame := hub.session.next_frame(viewer.viewer_id, hub.now)) and frame.key}
        for viewer in (first, second)
    ]
    assert keys[0] == keys[1] != set()


def test_the_budget_of_a_run_binds_all_that_holds_its_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    """What gave way is held nowhere; who was still owed it gets its token, and the newest whole."""
    budget = 20_000
    monkeypatch.setattr(record_module, "QUANTISED_BUDGET_BYTES", budget)
    hub = Hub()
    quick, stalled = hub.viewer(), hub.viewer()
    quick.start(sampling=greedy(60))
    assert quick.run is not None
    stalled.join(quick.run.run_id)
    for _ in range(80):
        hub.work()
        quick.drain()
    record = hub.session.records[quick.run.run_id]
    held = {
        id(values): values
        for entry in record.entries
        if isinstance(entry, StepEntry)
        for values in entry.arrays.values()
    }
    assert 0 < sum(values.nbytes for values in held.values()) <= budget
    assert any(record.history.quantised(pos) is None for pos in record.latest)
    stalled.drain()
    assert stalled.run is not None
    assert set(stalled.run.steps) == set(quick.run.steps) == set(record.latest)
    newest = max(record.latest)
    assert np.array_equal(stalled.run.steps[newest].tensors["neurons"], quick.run.steps[newest].tensors["neurons"])


def test_a_run_is_abandoned_after_the_grace_time_and_not_before() -> None:
    hub = Hub(grace_secs=10)
    viewer = hub.viewer()
    viewer.start(sampling=greedy(40), start_paused=True)
    assert viewer.run is not None
    record = hub.session.records[viewer.run.run_id]
    hub.session.disconnect(viewer.viewer_id, hub.now)
    hub.wait(9)
    assert not record.is_finished
    hub.wait(1.5)
    hub.work_all()
    assert record.finish_reason == "abandoned"
    late = hub.viewer()
    late.join(record.run_id)
    hub.work_all()
    late.drain()
    assert late.run is not None and set(late.run.steps) == set(record.latest)


def test_coming_back_in_time_saves_the_run() -> None:
    hub = Hub(grace_secs=10)
    viewer = hub.viewer()
    viewer.start(sampling=greedy(10), start_paused=True)
    assert viewer.run is not None
    run_id = viewer.run.run_id
    hub.session.disconnect(viewer.viewer_id, hub.now)
    hub.wait(5)
    again = hub.viewer()
    again.join(run_id)
    hub.wait(30)
    assert not hub.session.records[run_id].is_finished


def test_a_flood_is_told_once_to_slow_down_and_forgiven() -> None:
    hub = Hub()
    viewer = hub.viewer()
    for _ in range(5000):
        viewer.send(Ping(request_id=viewer.next_id()))
    events = viewer.drain()
    refusals = [event for event in events if isinstance(event, ErrorReport)]
    assert [refusal.code for refusal in refusals] == ["slow_down"]
    assert len(events) < 450
    hub.now += 1
    assert isinstance(viewer.ask(Ping(request_id=viewer.next_id())), Pong)


def test_a_viewer_that_asks_and_does_not_read_is_dropped() -> None:
    hub = Hub()
    viewer = hub.viewer()
    viewer.start(sampling=greedy(20))
    hub.work_all()
    assert viewer.run is not None
    components = [Component(kind="neuron", layer=0, index=index % 16) for index in range(64)]
    for _ in range(3000):
        hub.now += 0.01
        viewer.send(RequestValues(request_id=viewer.next_id(), run_id=viewer.run.run_id, components=components))
        if drops := hub.session.take_drops():
            assert drops[0].viewer_id == viewer.viewer_id and drops[0].code == 1013
            return
    pytest.fail("it was never dropped")


def test_a_resent_position_is_whole_and_finished_runs_stay_readable() -> None:
    hub = Hub()
    viewer = hub.viewer(["neurons"])
    viewer.start(sampling=greedy(5))
    hub.work_all()
    assert any(isinstance(event, RunFinished) for event in viewer.drain())
    assert viewer.run is not None
    viewer.send(RequestPositions(request_id=viewer.next_id(), run_id=viewer.run.run_id, positions=[2, 0]))
    again = steps_of(viewer.drain())
    assert [step.pos for step in again] == [2, 0]
    assert all(step.base_seq == -1 and step.tensors.neurons is not None for step in again)


def test_only_what_someone_wants_is_captured() -> None:
    hub = Hub()
    viewer = hub.viewer(["heads"])
    viewer.start(sampling=greedy(5))
    hub.work_all()
    viewer.drain()
    assert viewer.run is not None
    history = hub.session.records[viewer.run.run_id].history
    for pos in viewer.run.steps:
        assert set(history.quantised(pos) or {}) == {"heads"}
    assert set(CHANNELS) > {"heads"}


def test_quantised_values_stand_in_for_exact_ones_and_say_so() -> None:
    hub = Hub()
    viewer = hub.viewer()
    viewer.start(PROMPT, sampling=greedy(4))
    hub.work_all()
    viewer.drain()
    assert viewer.run is not None
    history = hub.session.records[viewer.run.run_id].history
    exact = history.exact(3)
    assert exact is not None and exact.neurons is not None
    command = RequestValues(
        request_id=viewer.next_id(),
        run_id=viewer.run.run_id,
        components=[Component(kind="neuron", layer=1, index=5)],
        from_pos=3,
        to_pos=4,
    )
    first = viewer.ask(command)
    history.drop_exact()
    second = viewer.ask(type(command)(**{**_fields(command), "request_id": viewer.next_id()}))
    value = [np.frombuffer(answer.values.data, "<f4")[0] for answer in (first, second)]  # type: ignore[union-attr]
    assert (first.exact, second.exact) == (True, False)  # type: ignore[union-attr]
    assert value[0] == exact.neurons[1, 5]
    assert value[1] == pytest.approx(value[0], rel=0.2, abs=float(np.abs(exact.neurons[1]).max()) / 100)


def _fields(command: RequestValues) -> dict[str, object]:
    return {name: getattr(command, name) for name in command.__struct_fields__}


def test_who_joins_while_lenses_are_made_holds_every_position_whole_once_complete() -> None:
    hub = Hub()
    author = hub.viewer()
    author.start(sampling=greedy(1))
    assert author.run is not None
    while author.run.finish_reason is None:
        hub.work()
        author.drain()
    joiner = hub.viewer()
    joiner.send(JoinRun(request_id=joiner.next_id(), run_id=author.run.run_id))
    n_before = len(hub.session.records[author.run.run_id].entries)
    hub.work_all()
    n_lenses = len(hub.session.records[author.run.run_id].entries) - n_before
    assert n_lenses > 3, "lenses came of positions that the joiner has not been sent"
    n_frames = 0
    while not (joiner.run is not None and joiner.run.is_complete):
        assert joiner.drain(1), "nothing more comes, and the run is not complete"
        n_frames += 1
    assert n_frames > n_lenses
    assert all("neurons" in step.tensors for step in joiner.run.steps.values()), "complete, and one lacks its arrays"


@pytest.mark.parametrize("fault", [EngineError("no memory"), RuntimeError("a bug")], ids=["engine", "bug"])
def test_a_set_at_which_the_engine_fails_is_answered(monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    """The run ends, as at any fault of the engine; who asked is told, and does not wait for ever."""
    hub = Hub()
    viewer = hub.viewer()
    viewer.start(sampling=greedy(30))
    hub.work(3)

    def failing(*_: object) -> None:
        raise fault

    monkeypatch.setattr(hub.engine, "values_of", failing)
    assert viewer.run is not None
    spec = InterventionSpec("m", "mean", [Component("mlp", 1)], reference=Reference("prompt"))
    command = SetInterventions(request_id=viewer.next_id(), run_id=viewer.run.run_id, interventions=[spec])
    answer = viewer.ask(command)
    assert isinstance(answer, ErrorReport)
    assert (answer.code, str(fault) in answer.message) == ("engine_fault", True)
    hub.work_all()
    viewer.drain()
    assert viewer.run.finish_reason == "engine_fault"
