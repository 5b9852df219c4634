"""A session with its model thread and its viewers in one place, without threads, sockets or time of their own."""

from __future__ import annotations

from collections.abc import Sequence

from livelens.client.run import ClientRun
from livelens.model.fake import FakeEngine
from livelens.protocol.codec import decode_event, encode_command
from livelens.protocol.messages import (
    CHANNELS,
    AnalysisProgress,
    Channel,
    Command,
    ErrorReport,
    Event,
    JoinRun,
    RunJoined,
    RunStarted,
    RunStateChanged,
    Sampling,
    StartRun,
    Subscribe,
)
from livelens.run.jobs import Report, StepMade
from livelens.run.quantise import quantised
from livelens.run.scheduler import Scheduler
from livelens.run.steps import FinishStep
from livelens.session.session import Session

PROMPT = "When Mary and John went to the store"


class SimViewer:
    """One viewer: sends commands as bytes, and follows its run as the Python client does."""

    def __init__(self, hub: Hub) -> None:
        self.hub = hub
        self.viewer_id = hub.session.connect()
        self.run: ClientRun | None = None
        self.events: list[Event] = []
        self.answers: dict[int, Event] = {}
        self._request_id = 0

    def next_id(self) -> int:
        self._request_id += 1
        return self._request_id

    @property
    def newest_id(self) -> int:
        """The request_id used last."""
        return self._request_id

    def send(self, command: Command) -> int:
        self.hub.session.receive(self.viewer_id, encode_command(command), self.hub.now)
        self.hub.pass_jobs()
        return command.request_id

    def drain(self, limit: int = 1_000_000) -> list[Event]:
        """Take up to so many frames."""
        taken: list[Event] = []
        while len(taken) < limit:
            frame = self.hub.session.next_frame(self.viewer_id, self.hub.now)
            if frame is None:
                break
            taken.append(self._take(frame.make()))
        return taken

    def ask(self, command: Command) -> Event:
        """Send, let everything happen, and give the answer."""
        self.send(command)
        self.hub.settle_jobs()
        self.drain()
        return self.answers[command.request_id]

    def start(self, prompt: str = PROMPT, **options: object) -> RunStarted | ErrorReport:
        answer = self.ask(StartRun(request_id=self.next_id(), prompt=prompt, **options))  # type: ignore[arg-type]
        assert isinstance(answer, RunStarted | ErrorReport)
        return answer

    def subscribe(self, channels: Sequence[Channel] = CHANNELS, *, visible: bool = True) -> None:
        self.send(Subscribe(request_id=self.next_id(), channels=list(channels), visible=visible))

    def join(self, run_id: str, last_seq: int = -1) -> RunJoined | ErrorReport:
        answer = self.ask(JoinRun(request_id=self.next_id(), run_id=run_id, last_seq=last_seq))
        assert isinstance(answer, RunJoined | ErrorReport)
        return answer

    def _take(self, frame: bytes) -> Event:
        event = decode_event(frame)
        self.events.append(event)
        if isinstance(event, RunStarted) or (
            isinstance(event, RunJoined) and (self.run is None or self.run.run_id != event.run.run_id)
        ):
            self.run = ClientRun(event.run)
        if self.run is not None:
            self.run.take(event)
        request_id = getattr(event, "request_id", None)
        if request_id is not None:
            before = self.answers.get(request_id)
            assert before is None or isinstance(before, AnalysisProgress | RunStateChanged), (before, event)
            self.answers[request_id] = event
        return event


class Hub:
    """Everything of a server but its sockets and threads."""

    def __init__(self, engine: FakeEngine | None = None, *, grace_secs: float = 10) -> None:
        self.engine = engine or FakeEngine(n_layers=2, n_heads=2, d_mlp=16, n_ctx=64)
        self.session = Session(model_info=self.engine.info, grace_secs=grace_secs)
        self.now = 100.0
        self.scheduler = Scheduler(self.engine, emit=self._report, emit_step=self._step)

    def viewer(self, channels: Sequence[Channel] = CHANNELS) -> SimViewer:
        viewer = SimViewer(self)
        viewer.subscribe(channels)
        viewer.drain()
        return viewer

    def _report(self, report: Report) -> None:
        self.session.report(report, self.now)

    def _step(self, finish: FinishStep) -> None:
        step, exact = finish()
        self._report(StepMade(step=step, arrays=quantised(exact), exact=exact))

    def pass_jobs(self) -> None:
        for job in self.session.take_jobs():
            self.scheduler.handle(job)

    def settle_jobs(self) -> None:
        """Reports make jobs, too."""
        for _ in range(10):
            self.pass_jobs()

    def work(self, n_pieces: int = 1) -> None:
        for _ in range(n_pieces):
            self.settle_jobs()
            if self.scheduler.has_work:
                self.scheduler.work()
        self.settle_jobs()

    def work_all(self) -> None:
        self.settle_jobs()
        while self.scheduler.has_work:
            self.work()

    def wait(self, secs: float) -> None:
        self.now += secs
        self.session.tick(self.now)
        self.settle_jobs()


def greedy(max_new_tokens: int = 8) -> Sampling:
    return Sampling(max_new_tokens=max_new_tokens, stop_at_eos=False)
