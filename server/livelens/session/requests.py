"""What is asked about the run that is watched, and changes nothing in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livelens.protocol.components import check_component
from livelens.protocol.messages import (
    Acknowledged,
    CancelAnalysis,
    Question,
    RequestAttention,
    RequestKeyframe,
    RequestNeuronProfile,
    RequestPositions,
    RequestRecording,
    RequestValues,
)
from livelens.run.jobs import AnalysisJob, CancelJob, LensJob, PastRun, Tag
from livelens.session.frames import attention_frame, values_frame
from livelens.session.questions import QuestionError, check_question
from livelens.session.record import RunRecord
from livelens.session.recording import part_estimate_bytes, recording_frame
from livelens.session.run_lookup import CommandError, watched_run

if TYPE_CHECKING:
    from livelens.session.session import Session, Viewer

_ROW_ESTIMATE_BYTES = 64

RunRequest = (
    RequestKeyframe | RequestPositions | RequestValues | RequestAttention | RequestRecording | CancelAnalysis | Question
)


class RequestHandler:
    """One method a request; all raise CommandError."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def handle(self, viewer: Viewer, command: RunRequest) -> None:
        """Carry out one request of one viewer."""
        match command:
            case RequestKeyframe():
                watched_run(self._session, viewer, command.run_id)
                viewer.outbox.need_keyframe()
                self._session.answer(viewer, Acknowledged(request_id=command.request_id))
            case RequestPositions():
                self._request_positions(viewer, command)
            case RequestValues():
                self._request_values(viewer, command)
            case RequestAttention():
                self._request_attention(viewer, command)
            case RequestRecording():
                record = watched_run(self._session, viewer, command.run_id)
                frame = recording_frame(command, record, self._session.model_info)
                viewer.outbox.answer_later(frame, part_estimate_bytes(command))
                self._session.wake(viewer)
            case _:
                self._ask(viewer, command)

    def _request_positions(self, viewer: Viewer, command: RequestPositions) -> None:
        record = watched_run(self._session, viewer, command.run_id)
        if max(command.positions) >= len(record.tokens):
            raise CommandError(
                "position_out_of_range",
                f"position {max(command.positions)} does not exist: this run has positions 0 to "
                f"{len(record.tokens) - 1}",
            )
        self._session.answer(viewer, Acknowledged(request_id=command.request_id))
        viewer.outbox.send_again([pos for pos in command.positions if pos in record.latest])
        if "logit_lens" in viewer.outbox.wanted:
            lacking = [pos for pos in command.positions if not _has_lens(record, pos)]
            if lacking:
                self._session.submit(LensJob(run_id=record.run_id, positions=lacking))

    def _request_values(self, viewer: Viewer, command: RequestValues) -> None:
        record = watched_run(self._session, viewer, command.run_id)
        for component in command.components:
            try:
                check_component(component, self._session.model_info)
            except ValueError as error:
                raise CommandError("component_out_of_range", str(error), run_id=record.run_id) from error
        if command.to_pos is not None and command.to_pos <= command.from_pos:
            raise CommandError("position_out_of_range", "to_pos must be greater than from_pos")
        size_bytes = _ROW_ESTIMATE_BYTES + 4 * len(command.components) * len(record.tokens)
        viewer.outbox.answer_later(values_frame(command, record), size_bytes)
        self._session.wake(viewer)

    def _request_attention(self, viewer: Viewer, command: RequestAttention) -> None:
        record = watched_run(self._session, viewer, command.run_id)
        info = self._session.model_info
        if command.layer >= info.n_layers or command.head_index >= info.n_heads:
            raise CommandError(
                "component_out_of_range",
                f"L{command.layer}H{command.head_index} does not exist: this model has layers 0 to "
                f"{info.n_layers - 1} and heads 0 to {info.n_heads - 1}",
            )
        frame = attention_frame(command, record)
        if frame is None:
            raise CommandError(
                "not_captured",
                f"no attention was captured at position {command.query_pos}: subscribe to attention, then run",
                run_id=record.run_id,
            )
        viewer.outbox.answer_later(frame, _ROW_ESTIMATE_BYTES + 4 * (command.query_pos + 1))
        self._session.wake(viewer)

    def _ask(self, viewer: Viewer, question: Question | CancelAnalysis) -> None:
        record = watched_run(self._session, viewer, question.run_id)
        if isinstance(question, CancelAnalysis):
            self._session.submit(CancelJob(viewer_id=viewer.viewer_id, request_id=question.cancels))
            self._session.answer(viewer, Acknowledged(request_id=question.request_id))
            return
        try:
            check_question(question, self._session.model_info, len(record.tokens))
        except QuestionError as error:
            raise CommandError(error.code, str(error), run_id=record.run_id) from error
        tag = Tag(viewer.viewer_id, question.request_id)
        past_runs = self._past_runs(question) if isinstance(question, RequestNeuronProfile) else ()
        job = AnalysisJob(run_id=record.run_id, tag=tag, question=question, past_runs=past_runs)
        self._session.submit(job)

    def _past_runs(self, question: RequestNeuronProfile) -> tuple[PastRun, ...]:
        """The runs it names besides its own, as they are. Knowing a run's id is being allowed to see it."""
        named = dict.fromkeys(run_id for run_id in question.past_run_ids if run_id != question.run_id)
        records = (self._session.records.get(run_id) for run_id in named)
        return tuple(record.as_past() for record in records if record is not None)


def _has_lens(record: RunRecord, pos: int) -> bool:
    arrays = record.history.quantised(pos)
    return arrays is not None and "lens_token_id" in arrays
