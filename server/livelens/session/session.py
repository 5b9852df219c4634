"""The hub of runs and viewers. Frames and reports in; frames, jobs and drops out; no I/O, no clock.

The transport calls `connect`, `receive`, `disconnect`, `tick` and, for what the model thread says,
`report`; after each it hands `take_jobs` to the worker, closes `take_drops`, wakes `take_awake`, and
sends `next_frame` of each woken viewer for as long as there is one.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from livelens import __version__
from livelens.model.operations import WeightEdit
from livelens.protocol.codec import CodecError, decode_command
from livelens.protocol.messages import (
    MAX_COMMAND_BYTES,
    MAX_INTERVENTIONS,
    MAX_PROMPT_CHARS,
    MEASURED_CHANNELS,
    PROTOCOL_VERSION,
    Channel,
    Command,
    DirectionInfo,
    ErrorReport,
    Event,
    Hello,
    Limits,
    ModelInfo,
    RankOneEditInfo,
)
from livelens.run.jobs import (
    CancelJob,
    ChannelsJob,
    DirectionJob,
    ForgetJob,
    ForkJob,
    Job,
    OpeningJob,
    Report,
    StopJob,
    WeightEditJob,
)
from livelens.session.bucket import TokenBucket
from livelens.session.commands import CommandHandler
from livelens.session.directions import Directions
from livelens.session.frames import Frame
from livelens.session.outbox import Outbox
from livelens.session.rank_one_edits import RankOneEdits
from livelens.session.record import RunRecord
from livelens.session.reports import ReportHandler
from livelens.session.run_lookup import CommandError
from livelens.session.sharing import Sharing

DEFAULT_GRACE_SECS: Final = 10.0
FINISHED_BUDGET_BYTES: Final = 1024 * 1024 * 1024
MAX_FINISHED_RUNS: Final = 64
MAX_ACTIVE_RUNS: Final = 16


@dataclass(slots=True)
class Viewer:
    """One connection: what it watches and what it is sent."""

    viewer_id: str
    outbox: Outbox
    bucket: TokenBucket
    run_id: str | None = None
    pending_run_id: str | None = None  # a start_run that the model thread has not answered
    told_to_slow_down: bool = False
    share_key: str | None = None  # of the group it shares with


@dataclass(frozen=True, slots=True)
class Drop:
    """A viewer to close, with a websocket close code and the reason it is told."""

    viewer_id: str
    code: int
    reason: str


class Session:
    """All runs and all viewers of one model."""

    def __init__(self, *, model_info: ModelInfo, grace_secs: float = DEFAULT_GRACE_SECS) -> None:
        self.model_info = model_info
        self.grace_secs = grace_secs
        self.max_active_runs = MAX_ACTIVE_RUNS
        self.viewers: dict[str, Viewer] = {}
        self.records: dict[str, RunRecord] = {}  # least recently used first
        self.starting: dict[str, OpeningJob] = {}
        self.directions = Directions(model_info.d_model)
        self.rank_one_edits = RankOneEdits(model_info)
        self.sharing = Sharing(self.answer)
        self._jobs: list[Job] = []
        self._drops: list[Drop] = []
        self._awake: set[str] = set()
        self._commands = CommandHandler(self)
        self._reports = ReportHandler(self)

    # ------------------------------------------------------------------ in

    def connect(self) -> str:
        """A viewer has come; returns its id. Its first frame is `hello`."""
        viewer_id = secrets.token_hex(8)
        viewer = Viewer(viewer_id, Outbox(viewer_id), TokenBucket(0.0))
        self.viewers[viewer_id] = viewer
        viewer.outbox.channels = self._default_channels()
        limits = Limits(
            max_command_bytes=MAX_COMMAND_BYTES,
            max_prompt_chars=MAX_PROMPT_CHARS,
            max_interventions=MAX_INTERVENTIONS,
            grace_secs=self.grace_secs,
        )
        self.answer(
            viewer,
            Hello(
                protocol_version=PROTOCOL_VERSION,
                server_version=__version__,
                viewer_id=viewer_id,
                model_info=self.model_info,
                limits=limits,
            ),
        )
        return viewer_id

    def receive(self, viewer_id: str, frame: bytes, now: float) -> float:
        """One frame from a viewer: at most one answer of refusal, and the viewer lives on.

        Returns for how many seconds nothing more is to be read from it: 0 but in a flood.
        """
        viewer = self.viewers.get(viewer_id)
        if viewer is None:
            return 0.0
        if not viewer.bucket.take(len(frame), now):
            if not viewer.told_to_slow_down:  # once per flood: the answers must not become one themselves
                viewer.told_to_slow_down = True
                self.refuse(viewer, None, "slow_down", "too many commands: at most 200 a second are taken; wait a bit")
            return viewer.bucket.pause_secs()
        viewer.told_to_slow_down = False
        try:
            command = decode_command(frame)
        except CodecError as error:
            self.refuse(viewer, error.request_id, error.code, str(error))
            return 0.0
        self.command(viewer_id, command, now)
        return 0.0

    def command(self, viewer_id: str, command: Command, now: float) -> None:
        """One decoded command."""
        viewer = self.viewers[viewer_id]
        try:
            self._commands.handle(viewer, command, now)
        except CommandError as error:
            self.refuse(viewer, command.request_id, error.code, str(error), run_id=error.run_id)

    def disconnect(self, viewer_id: str, now: float) -> None:
        """A viewer has gone; its run lives on for the grace time."""
        viewer = self.viewers.pop(viewer_id, None)
        if viewer is None:
            return
        self.sharing.leave(viewer)
        if viewer.pending_run_id is not None:
            self.abandon_start(viewer.pending_run_id)
        record = self.records.get(viewer.run_id) if viewer.run_id is not None else None
        if record is not None:
            record.lingering.append((now + self.grace_secs, viewer.outbox.wanted))
        self.leave(viewer, now)
        self._awake.discard(viewer_id)

    def report(self, report: Report, now: float) -> None:
        """What the model thread did."""
        self._reports.handle(report, now)

    def tick(self, now: float) -> None:
        """Time has passed: end runs that nobody came back to. Call about once a second."""
        for record in self.records.values():
            if record.lingering and record.lingering[0][0] <= now:
                record.lingering = [item for item in record.lingering if item[0] > now]
                self.settle_channels(record)
            if record.left_at is not None and not record.is_finished and now - record.left_at >= self.grace_secs:
                record.left_at = None
                message = f"nobody watched for {self.grace_secs:g} s"
                self.submit(StopJob(run_id=record.run_id, reason="abandoned", message=message))
        self.forget_old_runs()

    # ------------------------------------------------------------------ out

    def take_jobs(self) -> list[Job]:
        """Jobs for the model thread, in order."""
        jobs, self._jobs = self._jobs, []
        return jobs

    def take_drops(self) -> list[Drop]:
        """Viewers to close."""
        drops, self._drops = self._drops, []
        return drops

    def take_awake(self) -> set[str]:
        """Viewers that have something to be sent."""
        awake, self._awake = self._awake, set()
        return awake

    def next_frame(self, viewer_id: str, now: float) -> Frame | None:
        """What this viewer is sent next; none when there is nothing for now."""
        viewer = self.viewers.get(viewer_id)
        return viewer.outbox.next_frame(now) if viewer is not None else None

    # ------------------------------------------------------------------ for the handlers

    def submit(self, job: Job) -> None:
        """Queue a job for the model thread."""
        self._jobs.append(job)

    def hold_direction(self, info: DirectionInfo, vector: NDArray[np.float32]) -> None:
        """Hold a direction for every viewer, here and in the model thread."""
        for gone in self.directions.hold(info.direction_id, info):
            self.submit(DirectionJob(direction_id=gone, vector=None))
        self.submit(DirectionJob(direction_id=info.direction_id, vector=vector))

    def hold_rank_one_edit(self, info: RankOneEditInfo, edit: WeightEdit) -> None:
        """Hold an edit of a weight matrix for every viewer, here and in the model thread."""
        for gone in self.rank_one_edits.hold(info.edit_id, info):
            self.submit(WeightEditJob(edit_id=gone, edit=None))
        self.submit(WeightEditJob(edit_id=info.edit_id, edit=edit))

    def answer(self, viewer: Viewer, event: Event) -> None:
        """Queue an event for one viewer."""
        viewer.outbox.answer(event)
        self.wake(viewer)

    def wake(self, viewer: Viewer) -> None:
        """There is something to send to this viewer; close it when it asks without reading."""
        if viewer.outbox.is_overfull:
            self._drops.append(Drop(viewer.viewer_id, 1013, "too many unread answers: read faster, or ask for less"))
        self._awake.add(viewer.viewer_id)

    def wake_watchers(self, record: RunRecord) -> None:
        """The run has something new."""
        self._awake |= record.viewers

    def refuse(
        self, viewer: Viewer, request_id: int | None, code: str, message: str, *, run_id: str | None = None
    ) -> None:
        """Answer with an error_report."""
        self.answer(viewer, ErrorReport(code=code, message=message, request_id=request_id, run_id=run_id))

    def leave(self, viewer: Viewer, now: float) -> None:
        """Stop watching; the run's grace time begins when nobody is left."""
        record = self.records.get(viewer.run_id) if viewer.run_id is not None else None
        viewer.run_id = None
        viewer.outbox.watch(None, [])
        if record is None:
            return
        self.submit(CancelJob(viewer_id=viewer.viewer_id, request_id=None))  # its questions were about that run
        record.viewers.discard(viewer.viewer_id)
        if not record.viewers:
            record.left_at = now
        self.settle_channels(record)

    def watch(self, viewer: Viewer, record: RunRecord, older: list[int]) -> None:
        """Follow a run."""
        viewer.run_id = record.run_id
        record.viewers.add(viewer.viewer_id)
        record.left_at = None
        self.records[record.run_id] = self.records.pop(record.run_id)  # most recently used
        viewer.outbox.watch(record, older)
        self.settle_channels(record)
        self.wake(viewer)

    def settle_channels(self, record: RunRecord) -> None:
        """Compute what some viewer of the run wants, and nothing else."""
        wanted: frozenset[Channel] = frozenset().union(*(channels for _, channels in record.lingering))
        for viewer_id in record.viewers:
            wanted |= self.viewers[viewer_id].outbox.wanted
        if wanted != record.channels:
            record.channels = wanted
            self.submit(ChannelsJob(run_id=record.run_id, channels=wanted))

    def abandon_start(self, run_id: str) -> None:
        """The viewer that asked for this run no longer wants it."""
        if self.starting.pop(run_id, None) is not None:
            self.submit(StopJob(run_id=run_id, reason="abandoned", message="nobody waits for this run"))
            self.submit(ForgetJob(run_id=run_id))

    def forget_old_runs(self) -> None:
        """Let go of finished runs that nobody watches, least recently used first, over the budget.

        First of their float32 values, three quarters of it: the quantised record shows a run and its loud neurons.
        """
        total = sum(record.history.n_bytes for record in self.records.values())
        parents = {
            job.parent_id for job in self.starting.values() if isinstance(job, ForkJob)
        }  # their steps are shared
        idle = [
            record
            for record in self.records.values()
            if record.is_finished and not record.viewers and record.run_id not in parents
        ]
        for record in idle:
            if total <= FINISHED_BUDGET_BYTES:
                break
            before = record.history.n_bytes
            record.history.drop_exact()
            total += record.history.n_bytes - before
        excess = len(idle) - MAX_FINISHED_RUNS
        for record in idle:
            if total <= FINISHED_BUDGET_BYTES and excess <= 0:
                break
            total, excess = total - record.history.n_bytes, excess - 1
            del self.records[record.run_id]
            self.submit(ForgetJob(run_id=record.run_id))

    def _default_channels(self) -> frozenset[Channel]:
        return frozenset(self.model_info.capabilities.channels) - frozenset(MEASURED_CHANNELS)
