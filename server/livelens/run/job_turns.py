"""Which job the model thread takes next. A set may cost a forward pass over a long reference, a clean twin one over the
run's past: what they take of a run's time is bounded, and a viewer that sends more of them than there is time for waits
for itself."""

from __future__ import annotations

from collections import deque
from typing import Final

from livelens.run.jobs import ControlJob, InterveneJob, Job, StartJob, StopJob, Tag, TwinJob

# Of the time that tokens take, this much may go to sets beside them, and to twins; a lone one has its time at once.
SETS_SHARE: Final = 0.05
TWINS_SHARE: Final = 0.2
MOST_CREDIT_SECS: Final = 0.25
MOST_DEBT_SECS: Final = 0.5


class _Account:
    """The time that one kind of job may take."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._credit_secs = MOST_CREDIT_SECS

    @property
    def is_in_debt(self) -> bool:
        return self._credit_secs <= 0

    def spend(self, secs: float) -> None:
        self._credit_secs = max(self._credit_secs - secs, -MOST_DEBT_SECS)

    def earn(self, secs: float) -> None:
        self._credit_secs = min(self._credit_secs + self._share * secs, MOST_CREDIT_SECS)

    def refill(self) -> None:
        self._credit_secs = MOST_CREDIT_SECS


class JobTurns:
    """Jobs in, and out in the order in which each viewer sent them, but sets and switches only while there is time.

    A viewer with a set or a switch of the twin has a line of its own. While these are in debt, of those that follow
    each other in a line, for one run, only the newest can ever hold: they are taken together. A viewer's other jobs
    stay behind its own, but for a pause, a stop and a new run; everybody else's pass.
    """

    def __init__(self) -> None:
        self._sets, self._twins = _Account(SETS_SHARE), _Account(TWINS_SHARE)
        self._ready: deque[list[Job]] = deque()
        self._lines: dict[str, deque[list[Job]]] = {}

    @property
    def has_ready(self) -> bool:
        """A job that need not wait."""
        return bool(self._ready) or self._next_line() is not None

    @property
    def has_waiting(self) -> bool:
        """A set or a switch for which there is no time yet."""
        return bool(self._lines)

    def put(self, job: Job) -> None:
        """A job has come."""
        line = self._lines.get(_viewer(job))
        if line is not None and not _is_urgent(job):
            line.append([job])
            self._merge(line)
        elif isinstance(job, InterveneJob | TwinJob):
            self._lines[job.tag.viewer_id] = deque([[job]])
        else:
            self._ready.append([job])

    def take(self) -> list[Job]:
        """One job, or several of a kind of which the newest counts, oldest first; only where `has_ready`."""
        if self._ready:
            return self._ready.popleft()
        viewer_id = self._next_line()
        if viewer_id is None:
            raise RuntimeError("no job is ready")
        line = self._lines.pop(viewer_id)
        jobs = line.popleft()
        if line:
            self._lines[viewer_id] = line  # behind the other viewers'
        return jobs

    def took(self, jobs: list[Job], secs: float) -> None:
        """What was taken was carried out in `secs`."""
        account = self._account(jobs[-1])
        if account is not None:
            self._spend(account, secs)

    def brought_up(self, secs: float) -> None:
        """A twin's past was computed for `secs`, and no token."""
        self._spend(self._twins, secs)

    def worked(self, secs: float) -> None:
        """Tokens were made for `secs`."""
        self._sets.earn(secs)
        self._twins.earn(secs)

    def idle(self) -> None:
        """There is nothing that these jobs could slow down."""
        self._sets.refill()
        self._twins.refill()

    def _account(self, job: Job) -> _Account | None:
        if isinstance(job, InterveneJob):
            return self._sets
        return self._twins if isinstance(job, TwinJob) else None

    def _must_wait(self, job: Job) -> bool:
        account = self._account(job)
        return account is not None and account.is_in_debt

    def _next_line(self) -> str | None:
        """The viewer whose turn it is."""
        return next((viewer_id for viewer_id, line in self._lines.items() if not self._must_wait(line[0][0])), None)

    def _spend(self, account: _Account, secs: float) -> None:
        account.spend(secs)
        for line in self._lines.values():
            self._merge(line)

    def _merge(self, line: deque[list[Job]]) -> None:
        groups = list(line)
        line.clear()
        for jobs in groups:
            if line and self._must_wait(jobs[0]) and _can_replace(jobs[0], line[-1][-1]):
                line[-1].extend(jobs)
            else:
                line.append(jobs)


def _viewer(job: Job) -> str:
    tag: Tag | None = getattr(job, "tag", None)
    return tag.viewer_id if tag is not None else ""


def _is_urgent(job: Job) -> bool:
    return isinstance(job, StopJob | StartJob) or (isinstance(job, ControlJob) and job.action == "pause")


def _can_replace(job: Job, last: Job) -> bool:
    if isinstance(job, TwinJob) and isinstance(last, TwinJob):
        return job.run_id == last.run_id
    if not isinstance(job, InterveneJob) or not isinstance(last, InterveneJob):
        return False
    return job.run_id == last.run_id and job.mode == last.mode == "from_now"
