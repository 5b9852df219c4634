"""An event loop on a thread of its own, and calls back to the thread that a notebook's cells run on."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import TypeVar

_Result = TypeVar("_Result")


class BackgroundLoop:
    """Runs coroutines for whichever thread asks, until `close`.

    What `call_back` is given runs on the thread that made this one: while that thread waits in `run`, and, where it
    has an event loop (a kernel's has), whenever that loop is free. So a callback may touch widgets, and never runs
    beside the code of a cell.
    """

    def __init__(self) -> None:
        self._owner = threading.get_ident()
        try:
            self._owner_loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:  # a plain script: there, callbacks wait for the next call that waits
            self._owner_loop = None
        # What callbacks write belongs to the cell that awaits, not to the one that made this
        self._context = contextvars.copy_context()
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._is_calling = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="livelens-view", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[None, None, _Result]) -> _Result:
        """Wait for the result; an exception, or Ctrl-C here, cancels `work` and is raised here.

        An exception of a callback that runs meanwhile is raised here too.
        """
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            if threading.get_ident() == self._owner and not self._is_calling:
                self._call_until_done(future)
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def awaited(self, work: Coroutine[None, None, _Result]) -> _Result:
        """The same for a coroutine of another loop: cancelling it cancels `work`."""
        self._context = contextvars.copy_context()
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    def call_back(self, call: Callable[[], None]) -> None:
        """Have `call` run on the owner's thread, in the order in which they were given; returns at once."""
        self._calls.put(call)
        if self._owner_loop is not None:
            with contextlib.suppress(RuntimeError):  # that loop has ended, as a script's does
                self._owner_loop.call_soon_threadsafe(self._call_what_came, context=self._context.copy())

    def close(self) -> None:
        """End the thread; harmless when it has ended."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    # ------------------------------------------------------------------ on the owner's thread

    def _call_until_done(self, future: Future[_Result]) -> None:
        future.add_done_callback(lambda _: self._calls.put(None))
        while not future.done():
            call = self._calls.get()  # a signal ends this wait
            if call is not None:
                self._call(call)
        while (call := self._next()) is not None:  # what came before the result is told before it
            self._call(call)

    def _next(self) -> Callable[[], None] | None:
        while True:
            try:
                call = self._calls.get_nowait()
            except Empty:
                return None
            if call is not None:  # else the end of an earlier wait
                return call

    def _call_what_came(self) -> None:
        """Where the owner's loop is free: what a callback raises goes to that loop's handler."""
        while not self._is_calling and (call := self._next()) is not None:
            try:
                self._call(call)
            except Exception as error:
                assert self._owner_loop is not None
                self._owner_loop.call_exception_handler({"message": "a livelens callback failed", "exception": error})

    def _call(self, call: Callable[[], None]) -> None:
        # While one runs, the view may be asked for things: the next waits until it is done.
        self._is_calling = True
        try:
            call()
        finally:
            self._is_calling = False
