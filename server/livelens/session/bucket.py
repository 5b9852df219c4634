"""How many commands a viewer may send."""

from __future__ import annotations

from typing import Final

COMMANDS_PER_SEC: Final = 200.0
BURST_COMMANDS: Final = 400.0
BYTES_PER_COMMAND: Final = 4096  # a long command costs the event loop more than a short one


class TokenBucket:
    """Refills steadily up to a burst; a command takes one token and one more per 4 KiB."""

    def __init__(self, now: float) -> None:
        self._level = BURST_COMMANDS
        self._at = now

    def take(self, size_bytes: int, now: float) -> bool:
        """Whether a command of this size may pass now."""
        self._level = min(BURST_COMMANDS, self._level + max(0.0, now - self._at) * COMMANDS_PER_SEC)
        self._at = now
        cost = 1 + size_bytes / BYTES_PER_COMMAND
        if self._level < cost:
            return False
        self._level -= cost
        return True
