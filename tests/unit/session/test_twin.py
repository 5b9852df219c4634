"""The clean twin as viewers see it: told to all, refused where it cannot be, kept in recordings, not in branches."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.session.hub import Hub, SimViewer, greedy
from tests.unit.session.test_recording import saved

from livelens.model.fake import FakeEngine
from livelens.protocol.messages import (
    CHANNEL_TENSORS,
    Component,
    ErrorReport,
    ForkRun,
    InterventionSegment,
    InterventionSpec,
    JoinRun,
    RunJoined,
    RunStarted,
    SetInterventions,
    SetTwin,
    StepOnce,
    TwinChanged,
)
from livelens.recordings import parse_recording
from livelens.run import scheduler
from livelens.run.memory import run_bytes

SET = [InterventionSpec(intervention_id="a", operation="zero", components=[Component(kind="mlp", layer=0)])]
LOG = [InterventionSegment(from_pos=0, interventions=SET)]
NAMES = CHANNEL_TENSORS["difference"]


def set_twin(viewer: SimViewer, mode: str) -> TwinChanged | ErrorReport:
    assert viewer.run is not None
    answer = viewer.ask(SetTwin(request_id=viewer.next_id(), run_id=viewer.run.run_id, mode=mode))  # type: ignore[arg-type]
    assert isinstance(answer, TwinChanged | ErrorReport)
    return answer


def test_it_is_told_to_every_viewer_with_who_set_it_and_to_who_comes_later() -> None:
    hub = Hub()
    first, second = hub.viewer(), hub.viewer()
    first.start(sampling=greedy(12), intervention_log=LOG)
    assert first.run is not None
    second.join(first.run.run_id)
    hub.work(4)
    answer = set_twin(first, "teacher_forced")
    assert isinstance(answer, TwinChanged)
    second.drain()
    told = [event for event in second.events if isinstance(event, TwinChanged)]
    assert [(one.mode, one.from_pos, one.author, one.request_id) for one in told] == [
        ("teacher_forced", answer.from_pos, first.viewer_id, None)
    ]
    hub.work_all()
    late = hub.viewer()
    joined = late.join(first.run.run_id)
    assert isinstance(joined, RunJoined)
    assert (joined.run.twin, joined.run.twin_from_pos) == ("teacher_forced", answer.from_pos)
    late.drain()
    assert late.run is not None and answer.from_pos is not None
    with_twin = {pos for pos, step in late.run.steps.items() if step.twin is not None}
    assert with_twin == set(range(answer.from_pos, len(late.run.token_ids) - 1))


def test_its_channel_goes_only_to_those_who_name_it() -> None:
    hub = Hub()
    viewer = hub.viewer(["heads"])
    viewer.start(sampling=greedy(6), intervention_log=LOG, twin="teacher_forced")
    hub.work_all()
    viewer.drain()
    assert viewer.run is not None
    for step in viewer.run.steps.values():
        assert step.twin is not None and not set(step.tensors) & set(NAMES)
    plain = Hub()
    default = SimViewer(plain)  # never subscribed: what comes with the generation's own forward calls
    default.start(sampling=greedy(6), intervention_log=LOG, twin="teacher_forced")
    plain.work_all()
    default.drain()
    assert default.run is not None
    assert not any(set(step.tensors) & set(NAMES) for step in default.run.steps.values())


def test_without_a_twin_its_channel_is_empty() -> None:
    hub = Hub()
    viewer = hub.viewer(["difference"])
    viewer.start(sampling=greedy(6), intervention_log=LOG)
    hub.work_all()
    viewer.drain()
    assert viewer.run is not None and not any(step.tensors for step in viewer.run.steps.values())


@pytest.mark.parametrize("how", ["start", "fork", "set"])
def test_an_engine_that_carries_one_row_says_so(how: str) -> None:
    engine = FakeEngine(n_layers=2, n_heads=2, d_mlp=16, n_ctx=64, channels=("neurons", "heads"))
    hub = Hub(engine)
    viewer = hub.viewer(["heads"])
    if how == "start":
        answer = viewer.start(twin="free_running")
    else:
        viewer.start(sampling=greedy(6))
        assert viewer.run is not None
        run_id = viewer.run.run_id
        if how == "fork":
            command = ForkRun(request_id=viewer.next_id(), run_id=run_id, from_pos=2, twin="teacher_forced")
            answer = viewer.ask(command)  # type: ignore[assignment]
        else:
            answer = set_twin(viewer, "teacher_forced")  # type: ignore[assignment]
    assert isinstance(answer, ErrorReport) and answer.code == "twin_unavailable"
    assert "twin" in answer.message


@pytest.mark.parametrize("how", ["start", "set"])
def test_memory_for_both_rows_is_refused_with_the_limit_named(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub()
    viewer = hub.viewer()
    if how == "start":
        one_row = run_bytes(hub.engine, 40)
        monkeypatch.setattr(scheduler, "available_bytes", lambda: one_row + 1)
        answer = viewer.start(prompt="one two", sampling=greedy(40), twin="teacher_forced")
        assert isinstance(viewer.start(prompt="one two", sampling=greedy(20)), RunStarted)
    else:
        viewer.start(sampling=greedy(40))
        monkeypatch.setattr(scheduler, "available_bytes", lambda: 1)
        answer = set_twin(viewer, "teacher_forced")  # type: ignore[assignment]
        hub.work_all()
        viewer.drain()
        assert viewer.run is not None and viewer.run.twin == "off" and viewer.run.finish_reason == "max_new_tokens"
    assert isinstance(answer, ErrorReport) and answer.code == "not_enough_memory" and "MiB" in answer.message


def test_set_while_paused_then_stepped() -> None:
    hub = Hub()
    viewer = hub.viewer()
    viewer.start(sampling=greedy(12), start_paused=True)
    hub.work_all()
    assert viewer.run is not None
    run_id = viewer.run.run_id
    viewer.ask(SetInterventions(request_id=viewer.next_id(), run_id=run_id, interventions=SET))
    set_twin(viewer, "free_running")
    hub.work_all()
    viewer.send(StepOnce(request_id=viewer.next_id(), run_id=run_id))
    hub.work_all()
    viewer.drain()
    newest = viewer.run.steps[max(viewer.run.steps)]
    assert newest.twin is not None and newest.twin.kl > 0
    assert np.abs(newest.difference("mlp_out")).max() > 0 and newest.difference("neurons").shape == (2, 16)


def test_a_recording_keeps_what_was_told_of_it() -> None:
    hub = Hub()
    viewer = hub.viewer()
    viewer.start(sampling=greedy(8), intervention_log=LOG, twin="free_running")
    hub.work_all()
    viewer.drain()
    recording = parse_recording(saved(viewer))
    assert viewer.run is not None and recording.problems == []
    assert (recording.snapshot.twin, recording.snapshot.twin_from_pos) == ("free_running", 0)
    for step in recording.steps:
        own = viewer.run.steps[step.pos]
        assert step.twin == own.twin is not None
        for name in NAMES:
            np.testing.assert_array_equal(step.tensors[name], own.tensors[name], err_msg=name)


def test_a_branch_takes_nothing_over_of_the_others_twin() -> None:
    hub = Hub()
    viewer = hub.viewer()
    viewer.start(sampling=greedy(12), intervention_log=LOG, twin="teacher_forced")
    hub.work_all()
    viewer.drain()
    assert viewer.run is not None
    parent, at = viewer.run, viewer.run.n_prompt_tokens + 4
    command = ForkRun(request_id=viewer.next_id(), run_id=parent.run_id, from_pos=at, twin="teacher_forced")
    answer = viewer.ask(command)
    assert isinstance(answer, RunStarted) and (answer.run.twin, answer.run.twin_from_pos) == ("teacher_forced", at - 1)
    hub.work_all()
    viewer.drain()
    branch = viewer.run
    assert branch is not parent and branch.token_ids == parent.token_ids
    for pos, step in branch.steps.items():
        has_twin = pos >= at - 1
        assert (step.twin is not None) == has_twin and ("difference_heads" in step.tensors) == has_twin
        assert "heads" in step.tensors
    viewer.ask(JoinRun(request_id=viewer.next_id(), run_id=parent.run_id))
    viewer.drain()
    assert viewer.run.steps[at - 3].twin is not None
