"""How far a question is."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TypeVar

from livelens.protocol.commands import RunCommand
from livelens.protocol.messages import AnalysisProgress

_T = TypeVar("_T")


class Work:
    """Counts a question's pieces of work; `total` may be an estimate."""

    def __init__(self, question: RunCommand, *, total: int = 0) -> None:
        self.question = question
        self.done = 0
        self.total = total

    def expect(self, n_pieces: int) -> None:
        """So many more pieces are to come."""
        self.total += n_pieces

    def step(self) -> AnalysisProgress:
        """One more piece is done."""
        self.done += 1
        return self.now()

    def now(self) -> AnalysisProgress:
        """As far as it is."""
        return AnalysisProgress(
            request_id=self.question.request_id,
            run_id=self.question.run_id,
            done=min(self.done, self.total),
            total=self.total,
        )


def as_progress(
    steps: Generator[None, None, _T], work: Work, *, n_expected: int = 0, is_counted: bool = True
) -> Generator[AnalysisProgress, None, _T]:
    """Each stop of the work as progress; returns its result. Closes the work when it is closed.

    n_expected: pieces that were not foreseen. is_counted: each stop is a piece; else the work counts for itself.
    """
    work.expect(n_expected)
    with closing(steps):
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: _T = end.value
                return result
            yield work.step() if is_counted else work.now()
