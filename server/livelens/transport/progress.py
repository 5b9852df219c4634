"""Whether a viewer takes what it is sent.

The websocket keepalive does not notice a reader that stalls while data is queued, and would close a
slow one that does read; so what counts here is bytes drained: out of our buffer, and out of the
kernel's where it says.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import sys
import termios
from typing import Final

DEADLINE_SECS: Final = 17.0  # looked at once a second, so a stalled reader is gone within 20


class Progress:
    """Watches one connection; `now` is monotonic seconds."""

    def __init__(self, now: float, *, deadline_secs: float = DEADLINE_SECS) -> None:
        self._deadline_secs = deadline_secs
        self._since = now
        self._pending = 0
        self._n_sent = 0

    def is_stalled(self, *, pending_bytes: int, n_sent: int, now: float) -> bool:
        """Whether bytes have been waiting for the whole deadline without one of them leaving.

        pending_bytes: what is queued now; n_sent: frames handed to the connection so far.
        """
        if pending_bytes == 0 or pending_bytes < self._pending or n_sent != self._n_sent:
            self._since = now
        self._pending, self._n_sent = pending_bytes, n_sent
        return now - self._since >= self._deadline_secs


def kernel_queue_bytes(sock: socket.socket | None) -> int:
    """Bytes in the kernel's send queue that the other side has not acknowledged; 0 where it does not say."""
    if sock is None or sys.platform != "linux":
        return 0
    try:
        return int(struct.unpack("i", fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, b"\0\0\0\0"))[0])
    except (OSError, ValueError):
        return 0
