"""What the model thread reports, entered into the records and told to viewers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from livelens.protocol.codec import encode_event
from livelens.protocol.messages import (
    AnalysisProgress,
    DirectionReady,
    ErrorReport,
    InterventionsApplied,
    RankOneEditReady,
    RunFinished,
    RunRewound,
    RunStarted,
    RunStateChanged,
    Tensor,
    TwinChanged,
)
from livelens.protocol.tensors import reconstruct
from livelens.run.jobs import (
    Answered,
    Applied,
    Refused,
    Report,
    RunReady,
    StateChanged,
    StepMade,
    StopJob,
    Tag,
    TwinSet,
)
from livelens.session.frames import Frame
from livelens.session.outbox import ANSWERS_LIMIT_BYTES, Addressed
from livelens.session.rank_one_edits import edit_of
from livelens.session.record import RunRecord, record_from
from livelens.session.snapshot import missing_positions, snapshot

if TYPE_CHECKING:
    from livelens.session.session import Session

_RunReport = StateChanged | Applied | TwinSet | RunRewound | RunFinished
_ANSWER_BYTES: Final = 4096  # of an answer without its tensors, about


class ReportHandler:
    """One method a report."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def handle(self, report: Report, now: float) -> None:
        """Enter one report; reports of runs that were forgotten are dropped."""
        match report:
            case RunReady():
                self._ready(report, now)
                return
            case Refused():
                self._refused(report)
                return
            case Answered():
                self._answered(report)
                return
            case StepMade():
                record = self._session.records.get(report.step.run_id)
                if record is not None:
                    record.add_step(report, now)
            case _:
                record = self._session.records.get(report.run_id)
                if record is not None:
                    self._enter(record, report)
        if record is not None:
            self._session.wake_watchers(record)

    def _enter(self, record: RunRecord, report: _RunReport) -> None:
        match report:
            case StateChanged():
                record.state = report.state
                author = report.tag.viewer_id if report.tag is not None else None
                event = RunStateChanged(run_id=record.run_id, state=report.state, author=author)
                self._tell(record, event, report.tag)
            case Applied():
                record.intervention_log.append(report.applied)
                self._tell(record, InterventionsApplied(run_id=record.run_id, applied=report.applied), report.tag)
            case TwinSet():
                self._twin_set(record, report)
            case RunRewound():
                self._rewound(record, report)
            case RunFinished():
                record.finish_reason, record.text = report.reason, report.text
                record.state = "finished"
                record.add_event(report)

    def _tell(self, record: RunRecord, event: Addressed, tag: Tag | None) -> None:
        """Tell every viewer of the run, and who asked, if it has left the run meanwhile."""
        record.add_event(event, tag)
        asker = self._session.viewers.get(tag.viewer_id) if tag is not None else None
        if asker is not None and tag is not None and asker.run_id != record.run_id:
            self._session.answer(asker, msgspec.structs.replace(event, request_id=tag.request_id))

    def _twin_set(self, record: RunRecord, report: TwinSet) -> None:
        record.twin, record.twin_from_pos = report.mode, report.from_pos
        author = report.tag.viewer_id if report.tag is not None else None
        event = TwinChanged(run_id=record.run_id, mode=report.mode, from_pos=report.from_pos, author=author)
        self._tell(record, event, report.tag)

    def _rewound(self, record: RunRecord, report: RunRewound) -> None:
        record.rewind(report.from_pos, report.n_tokens, report.text)
        for viewer_id in record.viewers:
            self._session.viewers[viewer_id].outbox.forget_from(report.from_pos)
        record.add_event(report)

    def _ready(self, report: RunReady, now: float) -> None:
        session = self._session
        job = session.starting.pop(report.run_id, None)
        viewer = session.viewers.get(report.tag.viewer_id)
        if job is None or viewer is None:
            return  # superseded, or gone: its stop is on the way
        viewer.pending_run_id = None
        self._leave_for_good(viewer.run_id, viewer.viewer_id, now)
        record = record_from(report)
        parent = session.records.get(report.branch.run_id) if report.branch is not None else None
        if report.branch is not None and parent is not None:
            record.take_over(parent, report.branch)
        session.records[record.run_id] = record
        session.answer(viewer, RunStarted(request_id=report.tag.request_id, run=snapshot(record)))
        session.watch(viewer, record, missing_positions(record, -1))
        session.sharing.went(viewer, record.run_id)

    def _leave_for_good(self, run_id: str | None, viewer_id: str, now: float) -> None:
        """Who starts another run leaves the one before; nobody can want it when nobody else watches it."""
        session = self._session
        record = session.records.get(run_id) if run_id is not None else None
        session.leave(session.viewers[viewer_id], now)
        if record is not None and not record.viewers and not record.is_finished:
            message = "its only viewer started another run"
            session.submit(StopJob(run_id=record.run_id, reason="abandoned", message=message))

    def _answered(self, report: Answered) -> None:
        """For who asked alone; packed off the event loop, for a head's pattern of a long run is megabytes."""
        viewer, answer = self._session.viewers.get(report.tag.viewer_id), report.answer
        if isinstance(answer, DirectionReady):
            self._session.hold_direction(answer.direction, reconstruct(answer.vector).astype(np.float32))
        if isinstance(answer, RankOneEditReady):
            self._session.hold_rank_one_edit(answer.edit, edit_of(answer))
        if viewer is None:
            return
        if isinstance(answer, AnalysisProgress | ErrorReport):
            self._session.answer(viewer, answer)
            return
        tensors = (getattr(answer, name) for name in answer.__struct_fields__)
        size_bytes = _ANSWER_BYTES + sum(len(tensor.data) for tensor in tensors if isinstance(tensor, Tensor))
        # However large, one answer alone does not make a viewer that reads one that does not.
        viewer.outbox.answer_later(Frame(lambda: encode_event(answer)), min(size_bytes, ANSWERS_LIMIT_BYTES // 4))
        self._session.wake(viewer)

    def _refused(self, report: Refused) -> None:
        session = self._session
        viewer = session.viewers.get(report.tag.viewer_id)
        if session.starting.pop(report.run_id, None) is not None and viewer is not None:
            viewer.pending_run_id = None
        elif report.run_id not in session.records:
            return  # a superseded start: it was told so already
        if viewer is not None:
            run_id = report.run_id if report.run_id in session.records else None
            session.refuse(viewer, report.tag.request_id, report.code, report.message, run_id=run_id)
