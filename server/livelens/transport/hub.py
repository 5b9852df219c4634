"""One engine's session with its model thread and its viewers, whatever sockets they come over.

A transport makes a `Link` of each connection it has let in and calls `enter`, `receive` for every message, and
`leave`; through the link it is told to send, to close and to abort. All else is the same for every transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from typing import Final, Protocol

from livelens.model.engine import Engine
from livelens.run.jobs import Report
from livelens.run.worker import Worker
from livelens.session.session import DEFAULT_GRACE_SECS, Drop, Session
from livelens.transport.loop_lag import LoopLag
from livelens.transport.packer import Packer
from livelens.transport.progress import DEADLINE_SECS, Progress

_log = logging.getLogger(__name__)
MAX_CONNECTIONS: Final = 32
NOT_TEXT: Final = "text frame: this protocol is msgpack in binary frames"
_TICK_SECS: Final = 1.0
_KERNEL_QUEUE_BYTES: Final = 256 * 1024


class LinkClosedError(Exception):
    """The viewer has gone: nothing more can be sent to it."""


class Link(Protocol):
    """One viewer's open connection, of whatever library."""

    @property
    def is_open(self) -> bool:
        """Neither side has begun to close."""
        ...

    async def send(self, frame: bytes) -> None:
        """Send a binary frame; returns when there is room for the next. Raises LinkClosedError."""
        ...

    def pending_bytes(self) -> int:
        """Bytes on their way to the viewer that it has not taken."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Say goodbye with a websocket close code; harmless when closed."""
        ...

    def abort(self) -> None:
        """Let the connection go at once; harmless when closed."""
        ...


class _Peer:
    """One viewer and what is known of how it reads."""

    def __init__(self, link: Link, viewer_id: str, stall_secs: float) -> None:
        self.link = link
        self.viewer_id = viewer_id
        self.awake = asyncio.Event()
        self.progress = Progress(time.monotonic(), deadline_secs=stall_secs)
        self.n_sent = 0
        self.writing: asyncio.Task[None] | None = None


class NoRoomError(Exception):
    """As many viewers as may be are here; close with 1013 and the text."""


class Hub:
    """Watches one engine until `close`. Create and use it on one event loop."""

    def __init__(
        self,
        engine: Engine,
        *,
        grace_secs: float = DEFAULT_GRACE_SECS,
        max_connections: int = MAX_CONNECTIONS,
        stall_secs: float = DEADLINE_SECS,
    ) -> None:
        self._model_name = engine.info.model_name
        self._stall_secs = stall_secs
        self._max_connections = max_connections
        self._lag = LoopLag()
        self.session = Session(model_info=engine.info, grace_secs=grace_secs)
        self._loop = asyncio.get_running_loop()
        self.worker = Worker(engine, on_report=self._report_from_thread)
        self._packer = Packer(self.worker.encoder)
        self._peers: dict[str, _Peer] = {}
        self._dropping: dict[str, asyncio.Task[None]] = {}
        self._is_closing = False
        self._background = [asyncio.create_task(self._tick()), asyncio.create_task(self._lag.run())]

    @property
    def has_room(self) -> bool:
        """One more viewer may come."""
        return len(self._peers) < self._max_connections

    @property
    def links(self) -> list[Link]:
        """The viewers' connections."""
        return [peer.link for peer in self._peers.values()]

    def begin_closing(self) -> None:
        """Tell the viewers nothing more; their connections are the transport's to close."""
        self._is_closing = True
        for task in self._background:
            task.cancel()

    def close(self) -> None:
        """End the model thread, once the transport has closed every connection."""
        self.begin_closing()
        self.worker.close()

    def health(self) -> dict[str, object]:
        """What `GET health` tells."""
        return {
            "model_name": self._model_name,
            "n_viewers": len(self._peers),
            "n_runs": len(self.session.records),
            "pending_bytes": [link.pending_bytes() for link in self.links],
            "loop_lag_ms": self._lag.milliseconds(),
        }

    # ------------------------------------------------------------------ one viewer

    def enter(self, link: Link) -> str:
        """A viewer has come: it is sent hello, and all that follows. Its id, for the other two; raises NoRoomError."""
        if not self.has_room:
            raise NoRoomError("too many connections are open")
        viewer_id = self.session.connect()
        peer = _Peer(link, viewer_id, self._stall_secs)
        self._peers[viewer_id] = peer
        self._lag.wanted.set()
        peer.writing = asyncio.create_task(self._write(peer))
        peer.writing.add_done_callback(lambda writing: _end_of_writing(peer, writing))
        return viewer_id

    def receive(self, viewer_id: str, message: str | bytes) -> float:
        """One websocket message; a text message ends the connection, and what comes after it is not read.

        Returns for how many seconds the link is to read nothing more: 0 but in a flood.
        """
        if viewer_id in self._dropping:
            return 0.0
        if isinstance(message, str):
            self._drop(Drop(viewer_id, 1003, NOT_TEXT))
            return 0.0
        pause_secs = self.session.receive(viewer_id, message, time.monotonic())
        self._settle()
        return pause_secs

    async def leave(self, viewer_id: str) -> None:
        """The viewer's connection has closed."""
        peer = self._peers.pop(viewer_id)
        if not self._peers:
            self._lag.wanted.clear()
        self.session.disconnect(viewer_id, time.monotonic())
        self._settle()
        if peer.writing is not None:
            peer.writing.cancel()
            await asyncio.gather(peer.writing, return_exceptions=True)

    async def _write(self, peer: _Peer) -> None:
        with contextlib.suppress(LinkClosedError):
            while True:
                frame = self.session.next_frame(peer.viewer_id, time.monotonic())
                if frame is None:
                    peer.awake.clear()
                    await peer.awake.wait()
                    continue
                await peer.link.send(await self._packer.pack(frame))
                peer.n_sent += 1

    # ------------------------------------------------------------------ the session's two sides

    def _report_from_thread(self, report: Report) -> None:
        if not self._is_closing:
            with contextlib.suppress(RuntimeError):  # the loop may have closed in this very moment
                self._loop.call_soon_threadsafe(self._report, report)

    def _report(self, report: Report) -> None:
        self.session.report(report, time.monotonic())
        self._settle()

    def _settle(self) -> None:
        """Carry out what the session wants done."""
        for job in self.session.take_jobs():
            self.worker.submit(job)
        for drop in self.session.take_drops():
            self._drop(drop)
        for viewer_id in self.session.take_awake():
            peer = self._peers.get(viewer_id)
            if peer is not None:
                peer.awake.set()

    def _drop(self, drop: Drop) -> None:
        peer = self._peers.get(drop.viewer_id)
        if peer is not None and drop.viewer_id not in self._dropping:
            task = asyncio.create_task(peer.link.close(drop.code, drop.reason))
            self._dropping[drop.viewer_id] = task
            task.add_done_callback(lambda _: self._dropping.pop(drop.viewer_id, None))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECS)
            now = time.monotonic()
            self.session.tick(now)
            for peer in list(self._peers.values()):
                if not peer.link.is_open:
                    continue
                if peer.progress.is_stalled(pending_bytes=peer.link.pending_bytes(), n_sent=peer.n_sent, now=now):
                    _log.info("viewer %s took nothing for %d s: dropped", peer.viewer_id, self._stall_secs)
                    peer.link.abort()
            self._settle()


def _end_of_writing(peer: _Peer, writing: asyncio.Task[None]) -> None:
    """A frame that cannot be made must not leave a viewer waiting on an open line: it comes back, and joins its run."""
    fault = None if writing.cancelled() else writing.exception()
    if fault is not None:
        _log.error("a frame for viewer %s could not be made: its line is cut", peer.viewer_id, exc_info=fault)
        peer.link.abort()


def bound_kernel_queue(sock: socket.socket | None) -> None:
    """Left to itself the kernel queues megabytes for a slow viewer, who then watches what is long past."""
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_QUEUE_BYTES)
