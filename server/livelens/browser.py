"""Opens the user's browser without putting the token on a command line that others can read."""

from __future__ import annotations

import contextlib
import html
import os
import sys
import tempfile
import threading
import webbrowser
from pathlib import Path


def has_display() -> bool:
    """A browser opened here would be seen by the person: a display, and not at the far end of SSH."""
    if os.environ.get("SSH_CONNECTION") or os.environ.get("SSH_TTY"):
        return False
    if sys.platform in ("darwin", "win32"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


class BrowserWindow:
    """A browser that was sent to `url` through a file that only this user can read; `close` removes the file."""

    def __init__(self, url: str | None) -> None:
        """url none: open nothing."""
        self._path = _redirect_file(url) if url is not None else None
        if self._path is not None:
            # A text browser would hold this thread until it is left.
            threading.Thread(target=webbrowser.open, args=(self._path.as_uri(),), daemon=True).start()

    def close(self) -> None:
        """Remove the file; harmless when it is gone."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()


def _redirect_file(url: str) -> Path:
    descriptor, name = tempfile.mkstemp(prefix="livelens-", suffix=".html")  # mode 0600
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(
            '<!doctype html><meta charset="utf-8"><meta name="referrer" content="no-referrer">'
            f'<meta http-equiv="refresh" content="0; url={html.escape(url, quote=True)}"><title>livelens</title>'
        )
    return Path(name)
