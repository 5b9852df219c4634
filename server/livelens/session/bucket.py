"""How many commands a viewer may send."""

from __future__ import annotations

from typing import Final

COMMANDS_PER_SEC: Final = 200.0
BURST_COMMANDS: Final = 400.0
# Reading what is then left out takes time from the tokens, too: so a flood is read slowly, and its sender must wait.
REFUSED_PER_PAUSE: Final = 16
PAUSE_SECS: Final = 0.02
BYTES_PER_COMMAND: Final = 4096  # a long command costs the event loop more than a short one


class TokenBucket:
    """Refills steadily up to a burst; a command takes one token and one more per 4 KiB."""

    def __init__(self, now: float) -> None:
        self._level = BURST_COMMANDS
        self._at = now
        self._n_refused = 0

    def take(self, size_bytes: int, now: float) -> bool:
        """Whether a command of this size may pass now."""
        self._level = min(BURST_COMMANDS, self._level + max(0.0, now - self._at) * COMMANDS_PER_SEC)
        self._at = now
        cost = 1 + size_bytes / BYTES_PER_COMMAND
        if self._level < cost:
            return False
        self._level -= cost
        return True

    def pause_secs(self) -> float:
        """How long to read nothing more after a command that was refused; 0 for most, which are few."""
        self._n_refused += 1
        return PAUSE_SECS if self._n_refused % REFUSED_PER_PAUSE == 0 else 0.0
