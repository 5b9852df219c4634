"""How the Python client asks: one question, its progress, its answer; given up where nobody waits any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TypeVar

from livelens.client.connection import Connection
from livelens.client.errors import LivelensError
from livelens.protocol.messages import Acknowledged, Answer, CancelAnalysis, Question

Progress = Callable[[int, int], None]
_Answer = TypeVar("_Answer", bound=Answer)


class Asking:
    """Base of what may be asked of a run."""

    _connection: Connection

    async def _ask(self, question: Question, answer_type: type[_Answer], progress: Progress | None) -> _Answer:
        """The answer; cancelling the task that waits gives the question up. Raises LivelensError."""
        try:
            return await self._connection.ask(question, answer_type, on_progress=progress)
        except asyncio.CancelledError:
            self._connection.in_background(self._give_up(question))
            raise

    async def _give_up(self, question: Question) -> None:
        command = CancelAnalysis(
            request_id=self._connection.request_id(), run_id=question.run_id, cancels=question.request_id
        )
        with contextlib.suppress(LivelensError):  # it ended with the connection, or with the run
            await self._connection.ask(command, Acknowledged)
