"""Who is told of what happens in a view."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Generic, TypeVar

from livelens.client import ClientRun, StepData
from livelens.library.background import BackgroundLoop
from livelens.protocol.messages import Step

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


class NewSteps:
    """Tells of each position of a run once for each time it was computed, whole."""

    def __init__(self, callbacks: Callbacks[StepData]) -> None:
        self._callbacks = callbacks
        self._run_id = ""
        self._told: dict[int, int] = {}  # position -> revision, of that run

    def take(self, run: ClientRun | None, event: Step) -> None:
        """A step that `run` has taken."""
        if run is None or run.run_id != event.run_id:
            return
        if self._run_id != run.run_id:
            self._run_id = run.run_id
            self._told.clear()
        step = run.steps.get(event.pos)
        if step is None or step.info.detail_dropped or self._told.get(event.pos) == step.info.revision:
            return  # more of a position of which was told, such as its lens
        self._told[event.pos] = step.info.revision
        self._callbacks.tell(step)
