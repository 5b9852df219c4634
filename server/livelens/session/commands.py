"""What each command means: checked here, against the model and the run, before anything is asked of the worker."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from livelens.model.interventions import check_interventions
from livelens.protocol.components import check_component
from livelens.protocol.messages import (
    Acknowledged,
    CancelAnalysis,
    Command,
    DirectionStored,
    ForkRun,
    InterventionSegment,
    InterventionSpec,
    JoinRun,
    Pause,
    Ping,
    Pong,
    PutDirection,
    PutRankOneEdit,
    Question,
    RankOneEditStored,
    RequestAttention,
    RequestKeyframe,
    RequestNeuronProfile,
    RequestPositions,
    RequestRecording,
    RequestValues,
    Resume,
    RunJoined,
    RunRewound,
    SetInterventions,
    SetSelection,
    SetTwin,
    ShareView,
    StartRun,
    StepOnce,
    Stop,
    Subscribe,
    TwinMode,
)
from livelens.run.jobs import (
    AnalysisJob,
    CancelJob,
    ControlJob,
    ForkJob,
    InterveneJob,
    LensJob,
    OpeningJob,
    PastRun,
    StartJob,
    StopJob,
    Tag,
    TwinJob,
)
from livelens.session.frames import attention_frame, values_frame
from livelens.session.questions import QuestionError, check_question
from livelens.session.record import RunRecord
from livelens.session.recording import part_estimate_bytes, recording_frame
from livelens.session.snapshot import missing_positions, snapshot

if TYPE_CHECKING:
    from livelens.session.session import Session, Viewer

_ROW_ESTIMATE_BYTES = 64


RunRequest = (
    RequestKeyframe | RequestPositions | RequestValues | RequestAttention | RequestRecording | CancelAnalysis | Question
)


class CommandError(Exception):
    """A command that is refused; `code` is stable, the text says what to do."""

    def __init__(self, code: str, message: str, *, run_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.run_id = run_id


class CommandHandler:
    """One method a command; all raise CommandError."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def handle(self, viewer: Viewer, command: Command, now: float) -> None:
        """Carry out one command of one viewer."""
        match command:
            case StartRun() | ForkRun():
                self._begin(viewer, self._opening(viewer, command))
            case JoinRun():
                self._join_run(viewer, command, now)
            case Pause() | Resume() | StepOnce() | SetTwin():
                self._control(viewer, command)
            case Stop():
                self._stop(viewer, command)
            case SetInterventions():
                self._set_interventions(viewer, command)
            case Subscribe():
                self._subscribe(viewer, command)
            case PutDirection():
                self._put_direction(viewer, command)
            case PutRankOneEdit():
                self._put_rank_one_edit(viewer, command)
            case ShareView():
                self._session.sharing.enter(viewer, command.key)
                self._session.answer(viewer, Acknowledged(request_id=command.request_id))
            case SetSelection():
                self._set_selection(viewer, command)
            case Ping():
                self._session.answer(viewer, Pong(request_id=command.request_id, server_ns=int(now * 1e9)))
            case _:
                self._handle_request(viewer, command)

    def _handle_request(self, viewer: Viewer, command: RunRequest) -> None:
        """What is asked about the run that is watched, and changes nothing in it."""
        match command:
            case RequestKeyframe():
                self._watched(viewer, command.run_id)
                viewer.outbox.need_keyframe()
                self._session.answer(viewer, Acknowledged(request_id=command.request_id))
            case RequestPositions():
                self._request_positions(viewer, command)
            case RequestValues():
                self._request_values(viewer, command)
            case RequestAttention():
                self._request_attention(viewer, command)
            case RequestRecording():
                record = self._watched(viewer, command.run_id)
                frame = recording_frame(command, record, self._session.model_info)
                viewer.outbox.answer_later(frame, part_estimate_bytes(command))
                self._session.wake(viewer)
            case _:
                self._ask(viewer, command)

    def _opening(self, viewer: Viewer, command: StartRun | ForkRun) -> OpeningJob:
        run_id, tag = secrets.token_urlsafe(24), Tag(viewer.viewer_id, command.request_id)
        self._check_twin(command.twin)
        if isinstance(command, ForkRun):
            self._check_fork(command)
            return ForkJob(
                run_id=run_id,
                tag=tag,
                parent_id=command.run_id,
                from_pos=command.from_pos,
                token_text=command.token_text,
                sampling=command.sampling,
                interventions=None if command.interventions is None else list(command.interventions),
                start_paused=command.start_paused,
                channels=viewer.outbox.wanted,
                twin=command.twin,
            )
        self._check_log(command.intervention_log)
        return StartJob(
            run_id=run_id,
            tag=tag,
            prompt=command.prompt,
            apply_chat_template=command.apply_chat_template,
            sampling=command.sampling,
            start_paused=command.start_paused,
            intervention_log=list(command.intervention_log),
            target_token=command.target_token,
            distractor_token=command.distractor_token,
            channels=viewer.outbox.wanted,
            twin=command.twin,
        )

    def _check_twin(self, mode: TwinMode) -> None:
        capabilities = self._session.model_info.capabilities
        if mode != "off" and "difference" not in capabilities.channels:
            reasons = {item.channel: item.reason for item in capabilities.missing}
            reason = reasons.get("difference", "its engine carries one row")
            raise CommandError("twin_unavailable", f"this model cannot carry a clean twin: {reason}")

    def _check_fork(self, command: ForkRun) -> None:
        parent = self._known(command.run_id)
        if command.from_pos > len(parent.tokens):
            raise CommandError(
                "position_out_of_range",
                f"a branch may begin at token 1 to {len(parent.tokens)} of this run, not at {command.from_pos}",
                run_id=parent.run_id,
            )
        if command.interventions is not None:
            self._check_set(command.interventions)

    def _begin(self, viewer: Viewer, job: OpeningJob) -> None:
        session = self._session
        active = sum(not record.is_finished for record in session.records.values()) + len(session.starting)
        own = session.records.get(viewer.run_id) if viewer.run_id is not None else None
        if own is not None and not own.is_finished and own.viewers == {viewer.viewer_id}:
            active -= 1  # the new run takes its place
        if active >= session.max_active_runs:
            raise CommandError("too_many_runs", f"{active} runs are going on: stop one, or wait for one to end")
        if viewer.pending_run_id is not None:
            self._supersede(viewer, viewer.pending_run_id)
        viewer.pending_run_id = job.run_id
        session.starting[job.run_id] = job
        session.submit(job)

    def _supersede(self, viewer: Viewer, run_id: str) -> None:
        """Of two starts at once the second counts; the first is told so."""
        job = self._session.starting.get(run_id)
        if job is not None:
            self._session.abandon_start(run_id)
            message = "a newer start_run of this viewer took its place"
            self._session.refuse(viewer, job.tag.request_id, "superseded", message)

    def _check_log(self, log: list[InterventionSegment]) -> None:
        before = -1
        for segment in log:
            if segment.from_pos <= before:
                raise CommandError("bad_interventions", "an intervention log must ascend by from_pos")
            before = segment.from_pos
            self._check_set(segment.interventions)

    def _check_set(self, interventions: list[InterventionSpec]) -> None:
        try:
            check_interventions(interventions, self._session.model_info)
        except ValueError as error:
            raise CommandError("bad_interventions", str(error)) from error
        for spec in interventions:
            if spec.direction_id is not None and self._session.directions.use(spec.direction_id) is None:
                message = f"this server holds no direction {spec.direction_id!r}: put it, or have it made, once more"
                raise CommandError("direction_unknown", message)
            if spec.edit_id is not None and self._session.rank_one_edits.use(spec.edit_id) is None:
                message = f"this server holds no edit {spec.edit_id!r}: put it, or have it made, once more"
                raise CommandError("edit_unknown", message)
            if spec.reference is not None and spec.reference.run_id is not None:
                self._known(spec.reference.run_id)

    def _join_run(self, viewer: Viewer, command: JoinRun, now: float) -> None:
        session = self._session
        record = self._known(command.run_id)
        if viewer.pending_run_id is not None:
            self._supersede(viewer, viewer.pending_run_id)
            viewer.pending_run_id = None
        if viewer.run_id != record.run_id:
            session.leave(viewer, now)
        else:
            viewer.outbox.watch(None, [])  # what it is still owed goes out before the snapshot, which is newer
        session.answer(viewer, RunJoined(request_id=command.request_id, run=snapshot(record)))
        rewound = record.rewound_since(command.last_seq) if command.last_seq >= 0 else None
        if rewound is not None:
            event = RunRewound(
                run_id=record.run_id,
                from_pos=rewound,
                n_tokens=len(record.tokens),
                text=record.text,
                revision=record.revision,
            )
            session.answer(viewer, event)
        session.watch(viewer, record, missing_positions(record, command.last_seq))
        if not command.follows:
            session.sharing.went(viewer, record.run_id)

    def _control(self, viewer: Viewer, command: Pause | Resume | StepOnce | SetTwin) -> None:
        record = self._going(viewer, command.run_id)
        tag = Tag(viewer.viewer_id, command.request_id)
        job: ControlJob | TwinJob
        match command:
            case SetTwin():
                self._check_twin(command.mode)
                job = TwinJob(run_id=record.run_id, tag=tag, mode=command.mode)
            case Pause():
                job = ControlJob(run_id=record.run_id, tag=tag, action="pause")
            case Resume():
                job = ControlJob(run_id=record.run_id, tag=tag, action="resume")
            case _:
                job = ControlJob(run_id=record.run_id, tag=tag, action="step_once")
        self._session.submit(job)

    def _stop(self, viewer: Viewer, command: Stop) -> None:
        record = self._watched(viewer, command.run_id)
        tag = Tag(viewer.viewer_id, command.request_id)
        self._session.submit(StopJob(run_id=record.run_id, reason="stopped", message="stopped by a viewer", tag=tag))

    def _set_interventions(self, viewer: Viewer, command: SetInterventions) -> None:
        record = self._going(viewer, command.run_id)
        self._check_set(command.interventions)
        self._session.submit(
            InterveneJob(
                run_id=record.run_id,
                tag=Tag(viewer.viewer_id, command.request_id),
                interventions=list(command.interventions),
                mode=command.mode,
                recompute_from=command.recompute_from,
                restart=command.restart,
            )
        )

    def _put_direction(self, viewer: Viewer, command: PutDirection) -> None:
        try:
            info, vector = self._session.directions.read(command)
        except ValueError as error:
            raise CommandError("bad_direction", str(error)) from error
        self._session.hold_direction(info, vector)
        self._session.answer(viewer, DirectionStored(request_id=command.request_id, direction=info))

    def _put_rank_one_edit(self, viewer: Viewer, command: PutRankOneEdit) -> None:
        try:
            info, edit = self._session.rank_one_edits.read(command)
        except ValueError as error:
            raise CommandError("bad_edit", str(error)) from error
        self._session.hold_rank_one_edit(info, edit)
        self._session.answer(viewer, RankOneEditStored(request_id=command.request_id, edit=info))

    def _set_selection(self, viewer: Viewer, command: SetSelection) -> None:
        if viewer.share_key is None:
            raise CommandError("not_sharing", "this viewer shares its view with nobody: share_view first")
        if command.component is not None:
            try:
                check_component(command.component, self._session.model_info)
            except ValueError as error:
                raise CommandError("component_out_of_range", str(error)) from error
        self._session.sharing.select(viewer, command)

    def _subscribe(self, viewer: Viewer, command: Subscribe) -> None:
        missing = set(command.channels) - set(self._session.model_info.capabilities.channels)
        if missing:
            reasons = {item.channel: item.reason for item in self._session.model_info.capabilities.missing}
            name = min(missing)
            reason = reasons.get(name, "the engine cannot capture it")
            raise CommandError("channel_unavailable", f"this model has no channel {name}: {reason}")
        outbox = viewer.outbox
        returns = command.visible and not outbox.visible
        outbox.channels, outbox.visible = frozenset(command.channels), command.visible
        outbox.need_keyframe()
        record = self._session.records.get(viewer.run_id) if viewer.run_id is not None else None
        if record is not None:
            self._session.settle_channels(record)
            if returns and record.latest:
                outbox.send_first(max(record.latest))
        self._session.answer(viewer, Acknowledged(request_id=command.request_id))

    def _request_positions(self, viewer: Viewer, command: RequestPositions) -> None:
        record = self._watched(viewer, command.run_id)
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
        record = self._watched(viewer, command.run_id)
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
        record = self._watched(viewer, command.run_id)
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
        record = self._watched(viewer, question.run_id)
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

    # ------------------------------------------------------------------ which run

    def _known(self, run_id: str) -> RunRecord:
        record = self._session.records.get(run_id)
        if record is None:
            message = "this server has no such run: it was restarted, or the run is too old; start it again"
            raise CommandError("run_unknown", message, run_id=run_id)
        return record

    def _watched(self, viewer: Viewer, run_id: str) -> RunRecord:
        record = self._known(run_id)
        if viewer.run_id != run_id:
            raise CommandError("not_watching", "this viewer does not watch that run: join_run first", run_id=run_id)
        return record

    def _going(self, viewer: Viewer, run_id: str) -> RunRecord:
        record = self._watched(viewer, run_id)
        if record.is_finished:
            raise CommandError("run_ended", "this run has ended: start a new one", run_id=run_id)
        return record


def _has_lens(record: RunRecord, pos: int) -> bool:
    arrays = record.history.quantised(pos)
    return arrays is not None and "lens_token_id" in arrays
