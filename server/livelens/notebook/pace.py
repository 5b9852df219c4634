"""At most so many times a second, and the last time always."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol


class Later(Protocol):
    """What `asyncio`'s `call_later` returns."""

    def cancel(self) -> None:
        """It is not called any more."""
        ...


CallLater = Callable[[float, Callable[[], None]], Later | None]


class Pace:
    """Calls `work` when asked to, but never twice within `interval_secs`: a later request waits, and joins others."""

    def __init__(
        self,
        work: Callable[[], None],
        *,
        interval_secs: float,
        clock: Callable[[], float] = time.monotonic,
        call_later: CallLater | None = None,
    ) -> None:
        self._work = work
        self._interval = interval_secs
        self._clock = clock
        self._call_later = call_later if call_later is not None else on_this_loop
        self._last = -float("inf")
        self._timer: Later | None = None
        self._is_closed = False

    def ask(self) -> None:
        """Have the work done, now or as soon as it may be."""
        wait = self._last + self._interval - self._clock()
        if wait <= 0:
            self.now()
        elif self._timer is None and not self._is_closed:
            self._timer = self._call_later(wait, self.now)

    def now(self) -> None:
        """Do it at once."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._is_closed:
            self._last = self._clock()
            self._work()

    def close(self) -> None:
        """Nothing is done any more."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()


def on_this_loop(secs: float, call: Callable[[], None]) -> Later | None:
    """On the event loop of this thread, as a kernel's has one; without one it waits for the next request."""
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return loop.call_later(secs, call)
