"""Has every message of a widget's page heard, also after one that came while a cell awaited something.

A page sends a widget's next state only when the kernel has said that it is idle after the one before. A cell that
awaits lets ipykernel 7.4 take messages of widgets meanwhile, and after those it says nothing (`concurrent` in its
`Kernel.dispatch_shell`, ipykernel#1565): the page would keep every later click and turn to itself. So it is said here.
Where the kernel says it too, pages look at the first time only.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from typing import Protocol, TypeVar

from IPython.core.getipython import get_ipython


class TakesState(Protocol):
    """A widget."""

    set_state: Callable[[Mapping[str, object]], None]


_Widget = TypeVar("_Widget", bound=TakesState)


def heard(widget: _Widget) -> _Widget:
    """The same widget: after each state that the page sends, the page is told that it may send the next."""
    take = widget.set_state

    def take_and_tell(state: Mapping[str, object]) -> None:
        try:
            take(state)
        finally:
            _tell_handled()

    widget.set_state = take_and_tell
    return widget


def _tell_handled() -> None:
    """To whom sent the message that this thread is handling; without a kernel there is nobody."""
    kernel = getattr(get_ipython(), "kernel", None)
    if kernel is None:
        return
    for stream in (sys.stdout, sys.stderr):  # what callbacks wrote belongs to this message, which ends here
        with contextlib.suppress(ValueError):  # closed
            stream.flush()
    kernel.send_response(kernel.iopub_socket, "status", {"execution_state": "idle"}, channel="shell")
