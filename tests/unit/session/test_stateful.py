"""Any commands of any viewers in any order: no illegal state, no hook left, everyone ends with the same."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.unit.run.asking import AskableEngine
from tests.unit.session.hub import PROMPT, Hub, SimViewer, greedy

from livelens.protocol.messages import (
    CHANNELS,
    AnalysisProgress,
    CancelAnalysis,
    Component,
    ErrorReport,
    ForkRun,
    InterventionSpec,
    JoinRun,
    MetricQuestion,
    Pause,
    RequestHeadScores,
    RequestKeyframe,
    RequestOverview,
    RequestPositions,
    RequestRelevance,
    RequestValues,
    Resume,
    SetInterventions,
    SetSelection,
    SetTwin,
    ShareView,
    StartRun,
    StepOnce,
    Stop,
    Subscribe,
)

CODES = {
    "run_unknown", "run_ended", "not_watching", "superseded", "position_out_of_range", "too_many_runs",
    "component_out_of_range", "not_computed", "run_rewound", "cancelled", "nothing_to_generate", "not_sharing",
}  # fmt: skip
SPECS = [
    InterventionSpec(intervention_id="h", operation="zero", components=[Component(kind="head", layer=0, index=1)]),
    InterventionSpec(intervention_id="m", operation="scale", amount=2.0, components=[Component(kind="mlp", layer=1)]),
    InterventionSpec(intervention_id="n", operation="zero", components=[Component(kind="neuron", layer=1, index=3)]),
]
which = st.integers(0, 5)
twin_modes = st.sampled_from(["off", "teacher_forced", "free_running"])


@cache
def engine() -> AskableEngine:
    """The same for all runs: nothing of one is left in it, which each makes sure of at its end."""
    return AskableEngine(n_layers=2, n_heads=2, d_mlp=16, n_ctx=64)


class Sessions(RuleBasedStateMachine):
    """Viewers come, go, command and read as slowly as they like."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = engine()
        self.engine.n_open = 0  # a run that failed may have left some
        self.engine.log.clear()
        self.engine.contexts.clear()
        self.hub = Hub(self.engine)
        self.hub.scheduler.turn_secs = 0.0
        self.viewers: list[SimViewer] = []
        self.run_ids: list[str] = ["no-such-run"]
        self.sent: list[tuple[SimViewer, int]] = []

    def viewer(self, number: int) -> SimViewer:
        return self.viewers[number % len(self.viewers)]

    def send(self, number: int, make: type, **fields: object) -> None:
        viewer = self.viewer(number)
        command = make(request_id=viewer.next_id(), **fields)
        viewer.send(command)
        self.sent.append((viewer, command.request_id))

    def run_id(self, number: int) -> str:
        known = list(self.hub.session.records)
        return known[number % len(known)] if known else self.run_ids[0]

    @rule()
    @precondition(lambda self: len(self.viewers) < 4)
    def connect(self) -> None:
        self.viewers.append(self.hub.viewer())

    @rule(number=which)
    @precondition(lambda self: len(self.viewers) > 1)
    def vanish(self, number: int) -> None:
        viewer = self.viewer(number)
        self.viewers.remove(viewer)
        self.sent = [(who, request_id) for who, request_id in self.sent if who is not viewer]
        self.hub.session.disconnect(viewer.viewer_id, self.hub.now)
        self.hub.settle_jobs()

    @rule(number=which, paused=st.booleans(), n=st.integers(1, 12), twin=twin_modes)
    @precondition(lambda self: self.viewers)
    def start(self, number: int, paused: bool, n: int, twin: str) -> None:
        self.send(number, StartRun, prompt=PROMPT, start_paused=paused, sampling=greedy(n), twin=twin)

    @rule(
        number=which,
        run=which,
        from_pos=st.integers(1, 20),
        puts=st.booleans(),
        chosen=st.none() | st.sets(st.integers(0, 2)),
        paused=st.booleans(),
        twin=twin_modes,
    )
    @precondition(lambda self: self.viewers)
    def fork(
        self, number: int, run: int, from_pos: int, puts: bool, chosen: set[int] | None, paused: bool, twin: str
    ) -> None:
        self.send(
            number,
            ForkRun,
            run_id=self.run_id(run),
            from_pos=from_pos,
            token_text=" nine" if puts else None,
            interventions=None if chosen is None else [SPECS[index] for index in sorted(chosen)],
            start_paused=paused,
            twin=twin,
        )

    @rule(number=which, run=which, mode=twin_modes)
    @precondition(lambda self: self.viewers)
    def set_twin(self, number: int, run: int, mode: str) -> None:
        self.send(number, SetTwin, run_id=self.run_id(run), mode=mode)

    @rule(number=which, run=which, make=st.sampled_from([Pause, Resume, StepOnce, Stop, RequestKeyframe]))
    @precondition(lambda self: self.viewers)
    def control(self, number: int, run: int, make: type) -> None:
        self.send(number, make, run_id=self.run_id(run))

    @rule(
        number=which,
        run=which,
        chosen=st.sets(st.integers(0, 2)),
        mode=st.sampled_from(["from_now", "recompute"]),
        start=st.integers(0, 20),
        restart=st.booleans(),
    )
    @precondition(lambda self: self.viewers)
    def intervene(self, number: int, run: int, chosen: set[int], mode: str, start: int, restart: bool) -> None:
        specs = [SPECS[index] for index in sorted(chosen)]
        self.send(
            number,
            SetInterventions,
            run_id=self.run_id(run),
            interventions=specs,
            mode=mode,
            recompute_from=start,
            restart=restart,
        )

    @rule(number=which, run=which, resumes=st.booleans(), follows=st.booleans())
    @precondition(lambda self: self.viewers)
    def join(self, number: int, run: int, resumes: bool, follows: bool) -> None:
        viewer, run_id = self.viewer(number), self.run_id(run)
        known = self.hub.session.viewers[viewer.viewer_id]
        # A client that has asked for another run does not resume the one before it: it joins it anew.
        own = known.run_id == run_id and known.pending_run_id is None and viewer.run is not None
        resumed = viewer.run if resumes and own and viewer.run.run_id == run_id else None
        last_seq = resumed.last_complete_seq if resumed is not None else -1
        self.send(number, JoinRun, run_id=run_id, last_seq=last_seq, follows=follows)

    @rule(number=which, channels=st.sets(st.sampled_from(CHANNELS)), visible=st.booleans())
    @precondition(lambda self: self.viewers)
    def subscribe(self, number: int, channels: set[str], visible: bool) -> None:
        self.send(number, Subscribe, channels=sorted(channels), visible=visible)

    @rule(number=which, run=which, positions=st.lists(st.integers(0, 20), min_size=1, max_size=5))
    @precondition(lambda self: self.viewers)
    def positions(self, number: int, run: int, positions: list[int]) -> None:
        self.send(number, RequestPositions, run_id=self.run_id(run), positions=positions)

    @rule(number=which, run=which)
    @precondition(lambda self: self.viewers)
    def values(self, number: int, run: int) -> None:
        component = Component(kind="neuron", layer=0, index=2)
        self.send(number, RequestValues, run_id=self.run_id(run), components=[component])

    @rule(number=which, run=which, pos=st.integers(0, 20), make=st.sampled_from([RequestRelevance, RequestOverview]))
    @precondition(lambda self: self.viewers)
    def ask(self, number: int, run: int, pos: int, make: type) -> None:
        self.send(number, make, run_id=self.run_id(run), metric=MetricQuestion(pos=pos))

    @rule(number=which, run=which)
    @precondition(lambda self: self.viewers)
    def ask_of_the_model(self, number: int, run: int) -> None:
        self.send(number, RequestHeadScores, run_id=self.run_id(run))

    @rule(number=which, run=which, ago=st.integers(0, 5))
    @precondition(lambda self: self.viewers)
    def give_up(self, number: int, run: int, ago: int) -> None:
        newest = self.viewer(number).newest_id
        self.send(number, CancelAnalysis, run_id=self.run_id(run), cancels=max(0, newest - ago))

    @rule(number=which, key=st.none() | st.sampled_from(["first-group-of-viewers", "other-group-of-viewers"]))
    @precondition(lambda self: self.viewers)
    def share(self, number: int, key: str | None) -> None:
        self.send(number, ShareView, key=key)

    @rule(number=which, head=st.none() | st.integers(0, 2), pos=st.none() | st.integers(0, 20))
    @precondition(lambda self: self.viewers)
    def select(self, number: int, head: int | None, pos: int | None) -> None:
        component = None if head is None else Component(kind="head", layer=0, index=head)
        self.send(number, SetSelection, component=component, pos=pos)

    @rule(n=st.integers(1, 8))
    def work(self, n: int) -> None:
        self.hub.work(n)

    @rule(number=which, n=st.integers(1, 20))
    @precondition(lambda self: self.viewers)
    def read_a_little(self, number: int, n: int) -> None:
        self.viewer(number).drain(n)

    @rule(secs=st.floats(0, 12))
    def time_passes(self, secs: float) -> None:
        self.hub.wait(secs)

    @invariant()
    def nothing_is_out_of_order(self) -> None:
        assert self.hub.engine.hooks_left() == 0
        sharing = {viewer.share_key for viewer in self.hub.session.viewers.values()} - {None}
        assert len(self.hub.session.sharing) == len(sharing), "a group is left that nobody is in"
        for record in self.hub.session.records.values():
            assert record.viewers <= set(self.hub.session.viewers)
            assert record.viewers or record.left_at is not None or record.is_finished
            assert len(record.latest) <= len(record.tokens)
            assert all(pos < len(record.tokens) for pos in record.latest)

    def teardown(self) -> None:
        for viewer in self.viewers:
            viewer.subscribe()
        for run_id in list(self.hub.session.records):
            record = self.hub.session.records[run_id]
            for viewer in self.viewers:
                if viewer.viewer_id in record.viewers and not record.is_finished:
                    viewer.send(Stop(request_id=viewer.next_id(), run_id=run_id))
        self.hub.work_all()
        for viewer in self.viewers:
            viewer.drain()
            self._same_as_the_record(viewer)
        for viewer, request_id in self.sent:
            answer = viewer.answers.get(request_id)
            assert answer is not None, "a command was never answered"
            assert not isinstance(answer, AnalysisProgress), "a question was left half answered"
            assert not isinstance(answer, ErrorReport) or answer.code in CODES, answer
        assert self.hub.engine.hooks_left() == 0
        assert self.engine.n_open == 0, "what was computed for a question is still held"

    def _same_as_the_record(self, viewer: SimViewer) -> None:
        watched = self.hub.session.viewers[viewer.viewer_id].run_id
        if watched is None:
            return
        record, run = self.hub.session.records[watched], viewer.run
        assert run is not None and run.run_id == watched
        assert run.token_ids == [token.token_id for token in record.tokens]
        assert run.text == record.text
        assert (run.state, run.finish_reason) == (record.state, record.finish_reason)
        assert run.intervention_log == record.intervention_log
        assert (run.twin, run.twin_from_pos) == (record.twin, record.twin_from_pos)
        assert set(run.steps) == set(record.latest)
        for pos, step in run.steps.items():
            assert (step.info.revision, step.twin) == (record.latest[pos].revision, record.latest[pos].twin)
            held = record.history.quantised(pos) or {}
            for name, values in step.tensors.items():
                np.testing.assert_array_equal(values, held[name], err_msg=f"{name} at {pos}")


Sessions.TestCase.settings = settings(
    max_examples=2000, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)
TestSessions = Sessions.TestCase
