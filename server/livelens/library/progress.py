"""How far a command is, in one line that is written over: in a notebook's output, or in a terminal.

Commands that are done soon write nothing; elsewhere (a pipe, nbconvert without a kernel) nothing is ever written.
"""

from __future__ import annotations

import sys
import time
import uuid
from collections.abc import Callable
from typing import Final, Protocol, Self

from livelens.library.background import BackgroundLoop

FIRST_AFTER_SECS: Final = 0.5
_EVERY_SECS: Final = 0.25


class Line(Protocol):
    """A line that is written over."""

    def write(self, text: str) -> None:
        """Show `text` in place of what is there."""
        ...

    def end(self, text: str) -> None:
        """The last word."""
        ...


class _NotebookLine:
    """One output of the cell, updated in place: a saved notebook has the last word alone."""

    def __init__(self) -> None:
        self._display_id = uuid.uuid4().hex
        self._is_shown = False

    def write(self, text: str) -> None:
        from IPython.display import publish_display_data

        publish_display_data({"text/plain": text}, transient={"display_id": self._display_id}, update=self._is_shown)
        self._is_shown = True

    def end(self, text: str) -> None:
        self.write(text)


class _TerminalLine:
    """A line of standard error with a spinner, gone when the work is done."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.status import Status
        from rich.text import Text

        self._text = Text
        self._status = Status("", console=Console(stderr=True))

    def write(self, text: str) -> None:
        self._status.update(self._text(text))
        self._status.start()

    def end(self, text: str) -> None:
        self._status.stop()


def is_notebook() -> bool:
    """Whether this process is a kernel, whose outputs can be written over."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"


def line_here() -> Line | None:
    """Where progress is written here; none: nowhere."""
    if is_notebook():
        return _NotebookLine()
    return _TerminalLine() if sys.stderr.isatty() else None


class ProgressLine:
    """Progress of one command, reported from the background loop and written on the thread of the cells."""

    def __init__(
        self, background: BackgroundLoop, label: str, make_line: Callable[[], Line | None] | None = None
    ) -> None:
        """label: what is being done, as in `attribution: 3 of 20`."""
        self._background = background
        self._label = label
        self._make_line = line_here if make_line is None else make_line
        self._line: Line | None = None
        self._begun = time.monotonic()
        self._shown_at: float | None = None
        self._text = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown_at is not None:
            last = f"{self._text} in {time.monotonic() - self._begun:.1f} s"
            self._background.call_back(lambda: self._end(last))

    def __call__(self, done: int, total: int) -> None:
        """So much of so much is done."""
        now = time.monotonic()
        self._text = f"{self._label}: {done} of {total}"
        due = self._begun + FIRST_AFTER_SECS if self._shown_at is None else self._shown_at + _EVERY_SECS
        if now >= due:
            self._shown_at = now
            text = self._text
            self._background.call_back(lambda: self._write(text))

    def _write(self, text: str) -> None:
        if self._line is None:
            self._line = self._make_line()
        if self._line is not None:
            self._line.write(text)

    def _end(self, text: str) -> None:
        if self._line is not None:
            self._line.end(text)
