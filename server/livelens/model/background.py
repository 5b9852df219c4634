"""Threads that work beside the model thread and must not take its core."""

from __future__ import annotations

import os
import sys
import threading

# Far enough for the model thread to go first, near enough to get a core that is free.
_NICENESS = 10


def yield_to_model() -> None:
    """Let other threads of this machine go before the calling one, where the system can (Linux); else nothing.

    Waking threads otherwise preempt the model thread on its own core: on two cores that cost a token 5 ms.
    """
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
