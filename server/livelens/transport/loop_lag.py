"""How late the event loop is: the time between when a timer should have fired and when it did."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

_EVERY_SECS: Final = 0.02
_SAMPLES: Final = 3000  # the last minute


class LoopLag:
    """Keeps the lags of the last minute in which `wanted` was set; an idle server is not woken for it."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=_SAMPLES)
        self.wanted = asyncio.Event()

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await self.wanted.wait()
            due = loop.time() + _EVERY_SECS
            await asyncio.sleep(_EVERY_SECS)
            self._lags.append(max(0.0, loop.time() - due))

    def reset(self) -> None:
        """Forget what was measured."""
        self._lags.clear()

    def milliseconds(self) -> dict[str, float]:
        """Median, 99th percentile and largest lag, ms, and how many samples they are of."""
        ordered = sorted(self._lags)
        if not ordered:
            return {"median": 0.0, "p99": 0.0, "max": 0.0, "n_samples": 0}
        at = [ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))], ordered[-1]]
        return dict(
            zip(("median", "p99", "max"), (round(1000 * lag, 3) for lag in at), strict=True), n_samples=len(ordered)
        )
