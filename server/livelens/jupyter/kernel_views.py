"""Views that a notebook's kernel serves, under Jupyter's own login: the page from here, the websocket passed on.

A kernel that calls `livelens.serve` or `view.show` leaves a private file (`transport/kernel_files.py`); only what
such a file names is ever connected to, on 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Final

from tornado import web
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from livelens.protocol.messages import SUBPROTOCOL
from livelens.transport.hub import Link, LinkClosedError
from livelens.transport.kernel_files import ViewFile, is_running, read_file, view_path

_MAX_FRAME_BYTES: Final = 256 * 1024 * 1024
_MAX_WAITING: Final = 256
_OPEN_SECS: Final = 5.0
_CLOSE_SECS: Final = 0.5
_NOT_THERE: Final = "the notebook's kernel no longer serves this view: run its cell again"
_NO_VIEW: Final = "No view of a kernel is here: it was closed, or its kernel has ended; run its cell again"
_VIEWER: Final = "viewer"


class KernelViews:
    """Every view that kernels of this user offer in one runtime folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def called(self, view_id: str) -> KernelView:
        """The view of this id; 404 where there is none, or its kernel has ended."""
        try:
            path = view_path(self._folder, view_id)
        except ValueError as error:
            raise web.HTTPError(404, reason=_NO_VIEW) from error
        file = read_file(path, ViewFile)
        if file is None:
            raise web.HTTPError(404, reason=_NO_VIEW)
        if not is_running(file.pid):
            path.unlink(missing_ok=True)
            raise web.HTTPError(404, reason=_NO_VIEW)
        return KernelView(file)


class KernelView:
    """One view, as a viewer's socket sees a model."""

    has_room = True  # the kernel's own server counts

    def __init__(self, file: ViewFile) -> None:
        self._file = file

    def health(self) -> dict[str, object]:
        """Only that it is there."""
        return {"is_loaded": True}

    async def ready(self) -> Relay:
        """Where one viewer is passed on to."""
        return Relay(self._file)


class Relay:
    """One viewer's two directions: what the kernel sends is read only as fast as the viewer takes it."""

    def __init__(self, file: ViewFile) -> None:
        self._file = file
        self._waiting: asyncio.Queue[bytes] = asyncio.Queue(_MAX_WAITING)
        self._link: Link | None = None
        self._passing: asyncio.Task[None] | None = None
        self._closing: asyncio.Task[None] | None = None

    def enter(self, link: Link) -> str:
        """Begin; what it is sent comes from the kernel, `hello` first."""
        self._link = link
        self._passing = asyncio.create_task(self._pass_on(link))
        return _VIEWER

    def receive(self, viewer_id: str, message: str | bytes) -> float:
        """One message of the viewer; the kernel's own session bounds how many it takes, so no pause here."""
        assert self._link is not None and viewer_id == _VIEWER
        if isinstance(message, str):
            self._close(self._link, 1003, "text frame: this protocol is msgpack in binary frames")
            return 0.0
        try:
            self._waiting.put_nowait(message)
        except asyncio.QueueFull:
            self._close(self._link, 1013, "too many commands at once")
        return 0.0

    async def leave(self, viewer_id: str) -> None:
        """The viewer has gone: so does its connection to the kernel."""
        assert viewer_id == _VIEWER
        tasks = [task for task in (self._passing, self._closing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _close(self, link: Link, code: int, reason: str) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(link.close(code, reason))

    async def _pass_on(self, link: Link) -> None:
        opening = open_websocket(
            f"ws://127.0.0.1:{self._file.port}/ws",
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            additional_headers={"Authorization": f"Bearer {self._file.token}"},
            compression=None,
            max_size=_MAX_FRAME_BYTES,
            ping_interval=None,
            open_timeout=_OPEN_SECS,
            close_timeout=_CLOSE_SECS,
            proxy=None,
        )
        try:
            async with opening as kernel:
                await self._both_ways(link, kernel)
                await link.close(*_goodbye(kernel))
        except (OSError, InvalidHandshake, TimeoutError):
            await link.close(1011, _NOT_THERE)

    async def _both_ways(self, link: Link, kernel: ClientConnection) -> None:
        sending = asyncio.create_task(self._to_kernel(kernel))
        try:
            with contextlib.suppress(ConnectionClosed, LinkClosedError):
                async for frame in kernel:
                    await link.send(frame if isinstance(frame, bytes) else frame.encode())
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)

    async def _to_kernel(self, kernel: ClientConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                await kernel.send(await self._waiting.get())


def _goodbye(kernel: ClientConnection) -> tuple[int, str]:
    """How the kernel ended it, in codes that may be sent."""
    code = kernel.close_code
    if code is None or code in (1005, 1006, 1015):
        return 1011, _NOT_THERE
    return code, kernel.close_reason or ""
