"""Which run a command is about, and why it cannot be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livelens.session.record import RunRecord

if TYPE_CHECKING:
    from livelens.session.session import Session, Viewer


class CommandError(Exception):
    """A command that is refused; `code` is stable, the text says what to do."""

    def __init__(self, code: str, message: str, *, run_id: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.run_id = run_id


def known_run(session: Session, run_id: str) -> RunRecord:
    """A run of this server. Raises CommandError, as the others here do."""
    record = session.records.get(run_id)
    if record is None:
        message = "this server has no such run: it was restarted, or the run is too old; start it again"
        raise CommandError("run_unknown", message, run_id=run_id)
    return record


def watched_run(session: Session, viewer: Viewer, run_id: str) -> RunRecord:
    """The run that the viewer watches."""
    record = known_run(session, run_id)
    if viewer.run_id != run_id:
        raise CommandError("not_watching", "this viewer does not watch that run: join_run first", run_id=run_id)
    return record


def going_run(session: Session, viewer: Viewer, run_id: str) -> RunRecord:
    """The run that the viewer watches, which has not ended."""
    record = watched_run(session, viewer, run_id)
    if record.is_finished:
        raise CommandError("run_ended", "this run has ended: start a new one", run_id=run_id)
    return record
