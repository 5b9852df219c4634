"""What each command means: checked here, against the model and the run, before anything is asked of the worker."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from livelens.model.interventions import check_interventions
from livelens.protocol.components import check_component
from livelens.protocol.messages import (
    Acknowledged,
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
    RankOneEditStored,
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
    ControlJob,
    ForkJob,
    InterveneJob,
    OpeningJob,
    StartJob,
    StopJob,
    Tag,
    TwinJob,
)
from livelens.session.requests import RequestHandler
from livelens.session.run_lookup import CommandError, going_run, known_run, watched_run
from livelens.session.snapshot import missing_positions, snapshot

if TYPE_CHECKING:
    from livelens.session.session import Session, Viewer


class CommandHandler:
    """One method a command; all raise CommandError."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._requests = RequestHandler(session)

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
                self._requests.handle(viewer, command)

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
        parent = known_run(self._session, command.run_id)
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
                known_run(self._session, spec.reference.run_id)

    def _join_run(self, viewer: Viewer, command: JoinRun, now: float) -> None:
        session = self._session
        record = known_run(self._session, command.run_id)
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
        record = going_run(self._session, viewer, command.run_id)
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
        record = watched_run(self._session, viewer, command.run_id)
        tag = Tag(viewer.viewer_id, command.request_id)
        self._session.submit(StopJob(run_id=record.run_id, reason="stopped", message="stopped by a viewer", tag=tag))

    def _set_interventions(self, viewer: Viewer, command: SetInterventions) -> None:
        record = going_run(self._session, viewer, command.run_id)
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
