"""Which job the model thread takes next. Sets may cost a forward pass over a long reference: what they take of a run's
time is bounded, and a viewer that sends more of them than there is time for waits for itself."""

from __future__ import annotations

from collections import deque
from typing import Final

from livelens.run.jobs import ControlJob, InterveneJob, Job, StartJob, StopJob, Tag

# Of the time that tokens take, this much may go to sets beside them; a lone set is carried out at once.
SETS_SHARE: Final = 0.05
MOST_CREDIT_SECS: Final = 0.25
MOST_DEBT_SECS: Final = 0.5


class JobTurns:
    """Jobs in, and out in the order in which each viewer sent them, but sets only while there is time for them.

    A viewer with a set has a line of its own. While sets are in debt, of those that follow each other in a line, for
    one run, only the newest can ever hold: they are taken together. A viewer's other jobs stay
    behind its own sets, but for a pause, a stop and a new run; everybody else's pass.
    """

    def __init__(self) -> None:
        self._credit_secs = MOST_CREDIT_SECS
        self._ready: deque[list[Job]] = deque()
        self._lines: dict[str, deque[list[Job]]] = {}

    @property
    def has_ready(self) -> bool:
        """A job that need not wait."""
        return bool(self._ready) or (self._credit_secs > 0 and bool(self._lines))

    @property
    def has_waiting(self) -> bool:
        """A set for which there is no time yet."""
        return bool(self._lines)

    def put(self, job: Job) -> None:
        """A job has come."""
        line = self._lines.get(_viewer(job))
        if line is not None and not _is_urgent(job):
            line.append([job])
            self._merge(line)
        elif isinstance(job, InterveneJob):
            self._lines[job.tag.viewer_id] = deque([[job]])
        else:
            self._ready.append([job])

    def take(self) -> list[Job]:
        """One job, or several sets of which the newest counts, oldest first; only where `has_ready`."""
        if self._ready:
            return self._ready.popleft()
        viewer_id, line = next(iter(self._lines.items()))
        del self._lines[viewer_id]
        jobs = line.popleft()
        if line:
            self._lines[viewer_id] = line  # behind the other viewers'
        return jobs

    def took(self, jobs: list[Job], secs: float) -> None:
        """What was taken was carried out in `secs`."""
        if isinstance(jobs[-1], InterveneJob):
            self._credit_secs = max(self._credit_secs - secs, -MOST_DEBT_SECS)
            for line in self._lines.values():
                self._merge(line)

    def _merge(self, line: deque[list[Job]]) -> None:
        if self._credit_secs > 0:
            return
        groups = list(line)
        line.clear()
        for jobs in groups:
            if line and _can_replace(jobs[0], line[-1][-1]):
                line[-1].extend(jobs)
            else:
                line.append(jobs)

    def worked(self, secs: float) -> None:
        """Tokens were made for `secs`."""
        self._credit_secs = min(self._credit_secs + SETS_SHARE * secs, MOST_CREDIT_SECS)

    def idle(self) -> None:
        """There is nothing that sets could slow down."""
        self._credit_secs = MOST_CREDIT_SECS


def _viewer(job: Job) -> str:
    tag: Tag | None = getattr(job, "tag", None)
    return tag.viewer_id if tag is not None else ""


def _is_urgent(job: Job) -> bool:
    return isinstance(job, StopJob | StartJob) or (isinstance(job, ControlJob) and job.action == "pause")


def _can_replace(job: Job, last: Job) -> bool:
    if not isinstance(job, InterveneJob) or not isinstance(last, InterveneJob):
        return False
    return job.run_id == last.run_id and job.mode == last.mode == "from_now"
