"""Work that nothing can stop, such as loading a model, beside the event loop and not in the way of leaving."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

_Result = TypeVar("_Result")


def on_a_thread(work: Callable[[], _Result]) -> asyncio.Future[_Result]:
    """Like `to_thread`, on a daemon thread, so that leaving does not wait for it."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_Result] = loop.create_future()

    def succeed(result: _Result) -> None:
        if not future.cancelled():
            future.set_result(result)

    def fail(error: Exception) -> None:
        if not future.cancelled():
            future.set_exception(error)

    def run() -> None:
        try:
            result = work()
        except Exception as error:
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits
                loop.call_soon_threadsafe(fail, error)
        else:
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(succeed, result)

    threading.Thread(target=run, name="livelens-loading", daemon=True).start()
    return future
