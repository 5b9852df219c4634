"""Questions and answers between viewers and the model thread: to who asked, and to nobody else."""

from __future__ import annotations

import numpy as np
from tests.unit.run.asking import AskableEngine
from tests.unit.session.hub import Hub, SimViewer, greedy

from livelens.protocol.messages import (
    AnalysisProgress,
    ErrorReport,
    Metric,
    MetricQuestion,
    RelevanceReady,
    RequestRelevance,
    RunStarted,
)
from livelens.protocol.tensors import encode_tensor
from livelens.run.jobs import Answered, Tag


def watched(*, n_viewers: int = 1) -> tuple[Hub, AskableEngine, list[SimViewer], str]:
    """A paused run with one token, and its viewers."""
    engine = AskableEngine(n_layers=2, n_heads=2, d_mlp=16, n_ctx=64)
    hub = Hub(engine)
    hub.scheduler.turn_secs = 0.0
    viewers = [hub.viewer() for _ in range(n_viewers)]
    started = viewers[0].start(start_paused=True, sampling=greedy())
    assert isinstance(started, RunStarted)
    hub.work_all()
    for viewer in viewers[1:]:
        viewer.join(started.run.run_id)
    for viewer in viewers:
        viewer.drain()
    return hub, engine, viewers, started.run.run_id


def relevance(viewer: SimViewer, run_id: str) -> RequestRelevance:
    return RequestRelevance(request_id=viewer.next_id(), run_id=run_id, metric=MetricQuestion(pos=2))


def test_an_answer_goes_to_who_asked_alone() -> None:
    """Two viewers watch the run, and use the same request ids."""
    hub, _, (asker, other), run_id = watched(n_viewers=2)
    request_id = asker.send(relevance(asker, run_id))
    hub.work_all()
    assert [type(event) for event in asker.drain()] == [AnalysisProgress] * 3 + [RelevanceReady]
    assert isinstance(asker.answers[request_id], RelevanceReady)
    assert other.drain() == []


def test_who_goes_takes_its_questions_along() -> None:
    """Who leaves the run for another one is told that they were given up; who vanished cannot be."""
    hub, engine, (stays, vanishes), run_id = watched(n_viewers=2)
    request_id = stays.send(relevance(stays, run_id))
    vanishes.send(relevance(vanishes, run_id))
    hub.work(2)
    assert engine.n_open == 2
    hub.session.disconnect(vanishes.viewer_id, hub.now)
    hub.settle_jobs()
    assert engine.n_open == 1
    stays.start(start_paused=True)
    hub.settle_jobs()
    stays.drain()
    answer = stays.answers[request_id]
    assert isinstance(answer, ErrorReport) and answer.code == "cancelled"
    assert engine.n_open == 0


def test_one_large_answer_does_not_cost_a_viewer_its_connection() -> None:
    """A head's pattern of two thousand tokens is 8 MB; many of them unread are another thing."""
    hub, _, (viewer,), run_id = watched()
    tokens = encode_tensor(np.zeros(2 << 20, np.float32))
    answer = RelevanceReady(
        request_id=1,
        run_id=run_id,
        metric=Metric(0, 1, "", None, None, 0.0),
        method="frozen",
        tokens=tokens,
        bias=0.0,
        total=0.0,
        error=0.0,
    )
    hub.session.report(Answered(tag=Tag(viewer.viewer_id, 1), answer=answer), hub.now)
    assert hub.session.take_drops() == []
    for _ in range(5):
        hub.session.report(Answered(tag=Tag(viewer.viewer_id, 1), answer=answer), hub.now)
    assert [drop.viewer_id for drop in hub.session.take_drops()] != []


def test_a_refused_frame_says_which_command_it_was() -> None:
    """And the viewer lives on."""
    hub, _, (viewer,), _ = watched()
    hub.session.receive(viewer.viewer_id, b"\x82\xa4type\xa8nonsense\xaarequest_id\x29", hub.now)
    viewer.drain()
    refusal = viewer.answers[0x29]
    assert isinstance(refusal, ErrorReport) and refusal.code == "bad_command"
    assert isinstance(viewer.start(), RunStarted)
