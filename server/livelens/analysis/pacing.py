"""Long work that stops now and then, so that other work can go on, and no more often than is worth it."""

from __future__ import annotations

import time
from collections.abc import Callable

# About what a token takes: a pause costs whoever waits for the answer up to a token of another run.
PIECE_SECS = 0.1


def go_on() -> None:
    """Nothing asks to stop."""


class Pacing:
    """Calls `between` at the stops that come `piece_secs` or more after the last one."""

    def __init__(self, between: Callable[[], None] = go_on, *, piece_secs: float = PIECE_SECS) -> None:
        self._between = between
        self._piece_secs = piece_secs
        self._since = time.monotonic()

    @property
    def is_due(self) -> bool:
        """Whether `stop` would stop now."""
        return self._between is not go_on and time.monotonic() - self._since >= self._piece_secs

    def stop(self) -> None:
        """A place where the work can stop. What `between` raises ends it."""
        if self.is_due:
            self._between()
            self._since = time.monotonic()
