"""How far a question is."""

from __future__ import annotations

from livelens.protocol.commands import RunCommand
from livelens.protocol.messages import AnalysisProgress


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
