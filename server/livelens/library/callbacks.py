"""Who is told of what happens in a view."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Generic, TypeVar

from livelens.library.background import BackgroundLoop

_Told = TypeVar("_Told")


class Callbacks(Generic[_Told]):
    """Callbacks of one kind; each is called on the thread of the cells, see `BackgroundLoop`."""

    def __init__(self, background: BackgroundLoop) -> None:
        self._background = background
        self._callbacks: list[Callable[[_Told], None]] = []

    def add(self, callback: Callable[[_Told], None]) -> Callable[[], None]:
        """Have it called from now on; returns what ends that. Harmless when called twice."""
        call = functools.partial(callback)  # its own object: the same function may be given twice
        self._callbacks.append(call)

        def end() -> None:
            if call in self._callbacks:
                self._callbacks.remove(call)

        return end

    def tell(self, told: _Told) -> None:
        """From any thread: have every callback called, unless it was taken away by then."""
        for callback in list(self._callbacks):
            self._background.call_back(functools.partial(self._call, callback, told))

    def _call(self, callback: Callable[[_Told], None], told: _Told) -> None:
        if callback in self._callbacks:
            callback(told)
