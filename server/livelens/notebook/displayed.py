"""Keeps the picture in a notebook's file up to date: browsers show the widget, files and exports the picture."""

from __future__ import annotations

from collections.abc import Callable

from IPython.core.getipython import get_ipython
from IPython.display import DisplayHandle


class DisplayedPicture:
    """One output that is displayed again, in its place, at the end of a cell that changed what it shows."""

    def __init__(self, bundle: Callable[[], dict[str, object]], *, before: Callable[[], None]) -> None:
        """bundle: what is displayed. before: called at the end of every cell, before `is_old` is looked at."""
        self._bundle = bundle
        self._before = before
        self._handles: list[DisplayHandle] = []
        self.is_old = False

    def display(self) -> None:
        """Show it here."""
        handle = DisplayHandle()
        handle.display(self._bundle(), raw=True)
        shell = get_ipython()
        if not self._handles and shell is not None:
            shell.events.register("post_run_cell", self._renew)
        self._handles.append(handle)
        self.is_old = False

    def _renew(self, _: object) -> None:
        self._before()
        if self.is_old:
            self.is_old = False
            bundle = self._bundle()
            for handle in self._handles:
                # First the picture alone: JupyterLab takes the widget down only where another kind of output comes,
                # and leaves a view behind, unseen and at work, where the same kind comes again.
                handle.update({"image/png": bundle["image/png"]}, raw=True)
                handle.update(bundle, raw=True)

    def close(self) -> None:
        """The last picture stays; harmless when closed."""
        shell = get_ipython()
        if self._handles and shell is not None:
            shell.events.unregister("post_run_cell", self._renew)
        self._handles = []
