"""The session on a socket: one port for the page and the websocket, on websockets' asyncio server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from collections.abc import Sequence
from typing import Any, Final

from websockets.asyncio.server import Server as WebsocketsServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from livelens.model.engine import Engine
from livelens.protocol.messages import MAX_COMMAND_BYTES
from livelens.run.jobs import Report
from livelens.run.worker import Worker
from livelens.session.session import DEFAULT_GRACE_SECS, Drop, Session
from livelens.transport.handshake import Handshake, choose_subprotocol, version_mismatch
from livelens.transport.http_assets import Assets, load_assets
from livelens.transport.loop_lag import LoopLag
from livelens.transport.packer import Packer
from livelens.transport.progress import DEADLINE_SECS, Progress, kernel_queue_bytes
from livelens.transport.security import AccessPolicy

_log = logging.getLogger(__name__)
MAX_CONNECTIONS: Final = 32
MAX_HALF_OPEN: Final = 64
_TICK_SECS: Final = 1.0
_CLOSE_SECS: Final = 0.5
_RECEIVE_FRAMES: Final = 4
_KERNEL_QUEUE_BYTES: Final = 256 * 1024
# The handshakes of strangers are not worth a line each, and their addresses may hold a token.
_websockets_log = logging.getLogger("livelens.websockets")
_websockets_log.setLevel(logging.CRITICAL)


class _Peer:
    """One viewer's connection."""

    def __init__(self, connection: ServerConnection, viewer_id: str, stall_secs: float) -> None:
        self.connection = connection
        self.viewer_id = viewer_id
        self.awake = asyncio.Event()
        self.progress = Progress(time.monotonic(), deadline_secs=stall_secs)
        self.n_sent = 0

    def pending_bytes(self) -> int:
        """Bytes on their way to the viewer that it has not taken."""
        transport = self.connection.transport
        return int(transport.get_write_buffer_size()) + kernel_queue_bytes(transport.get_extra_info("socket"))


class LivelensServer:
    """Serves one engine until `close`. Create and use it on one event loop."""

    def __init__(
        self,
        engine: Engine,
        policy: AccessPolicy,
        *,
        assets: Assets | None = None,
        grace_secs: float = DEFAULT_GRACE_SECS,
        max_connections: int = MAX_CONNECTIONS,
        stall_secs: float = DEADLINE_SECS,
    ) -> None:
        self._handshake = Handshake(policy, assets if assets is not None else load_assets(), health=self._health)
        self._model_name = engine.info.model_name
        self._stall_secs = stall_secs
        self._lag = LoopLag()
        self.session = Session(model_info=engine.info, grace_secs=grace_secs)
        self._loop = asyncio.get_running_loop()
        self.worker = Worker(engine, on_report=self._report_from_thread)
        self._packer = Packer(self.worker.encoder)
        self._max_connections = max_connections
        self._peers: dict[str, _Peer] = {}
        self._half_open: dict[ServerConnection, None] = {}
        self._dropping: dict[str, asyncio.Task[None]] = {}
        self._is_closing = False
        self._servers: list[WebsocketsServer] = []
        self._background: list[asyncio.Task[None]] = []

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Answer on these bound sockets."""
        for sock in sockets:
            self._servers.append(await self._serve(sock))
        self._background = [asyncio.create_task(self._tick()), asyncio.create_task(self._lag.run())]

    async def close(self) -> None:
        """Close every connection (1001) and end the model thread; takes well under 2 s."""
        self._is_closing = True
        for task in self._background:
            task.cancel()
        for server in self._servers:
            server.close(code=1001, reason="the server is shutting down")
        try:
            async with asyncio.timeout(_CLOSE_SECS):
                await asyncio.gather(*(server.wait_closed() for server in self._servers))
        except TimeoutError:
            for connection in [peer.connection for peer in self._peers.values()] + list(self._half_open):
                connection.transport.abort()
        self.worker.close()  # nothing is left on this loop that could wait for it

    async def _serve(self, sock: socket.socket) -> WebsocketsServer:
        owner = self

        class Connection(ServerConnection):
            """Adds our headers to every response, also those that the library makes of broken requests."""

            def __init__(self, protocol: ServerProtocol, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - passed on
                super().__init__(protocol, *args, **kwargs)
                send_response = protocol.send_response

                def send_with_headers(response: Response) -> None:
                    owner._handshake.add_security_headers(response)
                    send_response(response)

                protocol.send_response = send_with_headers  # type: ignore[method-assign]

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                _bound_kernel_queue(transport)
                super().connection_made(transport)
                owner._opened(self)

            def connection_lost(self, exc: Exception | None) -> None:
                owner._half_open.pop(self, None)
                super().connection_lost(exc)

        return await serve(
            self._viewer,
            sock=sock,
            process_request=self._process_request,
            select_subprotocol=_select_subprotocol,
            compression=None,
            max_size=MAX_COMMAND_BYTES,
            max_queue=_RECEIVE_FRAMES,
            server_header=None,
            ping_interval=20,
            ping_timeout=None,  # progress.py decides, see there
            close_timeout=_CLOSE_SECS * 4,
            logger=_websockets_log,
            create_connection=Connection,
        )

    # ------------------------------------------------------------------ connections

    def _opened(self, connection: ServerConnection) -> None:
        self._half_open[connection] = None
        if len(self._half_open) > MAX_HALF_OPEN:  # the oldest has had its chance; a good client is quick
            oldest = next(iter(self._half_open))
            del self._half_open[oldest]
            oldest.transport.abort()

    def _process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        self._half_open.pop(connection, None)
        return self._handshake.answer(request, has_room=len(self._peers) < self._max_connections)

    async def _viewer(self, connection: ServerConnection) -> None:
        """One viewer, from hello to goodbye."""
        mismatch = version_mismatch(connection.subprotocol)
        if mismatch is not None:
            await connection.close(1002, mismatch)
            return
        if len(self._peers) >= self._max_connections:  # several came in between check and handshake
            await connection.close(1013, "too many connections are open")
            return
        viewer_id = self.session.connect()
        peer = _Peer(connection, viewer_id, self._stall_secs)
        self._peers[viewer_id] = peer
        self._lag.wanted.set()
        writing = asyncio.create_task(self._write(peer))
        try:
            await self._read(peer)
        finally:
            writing.cancel()
            del self._peers[viewer_id]
            if not self._peers:
                self._lag.wanted.clear()
            self.session.disconnect(viewer_id, time.monotonic())
            self._settle()
            await asyncio.gather(writing, return_exceptions=True)

    async def _read(self, peer: _Peer) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in peer.connection:
                if isinstance(message, str):
                    await peer.connection.close(1003, "text frame: this protocol is msgpack in binary frames")
                    return
                self.session.receive(peer.viewer_id, message, time.monotonic())
                self._settle()

    async def _write(self, peer: _Peer) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                frame = self.session.next_frame(peer.viewer_id, time.monotonic())
                if frame is None:
                    peer.awake.clear()
                    await peer.awake.wait()
                    continue
                await peer.connection.send(await self._packer.pack(frame))
                peer.n_sent += 1

    def _health(self) -> dict[str, object]:
        """What `GET health` tells."""
        return {
            "model_name": self._model_name,
            "n_viewers": len(self._peers),
            "n_runs": len(self.session.records),
            "pending_bytes": [peer.pending_bytes() for peer in self._peers.values()],
            "loop_lag_ms": self._lag.milliseconds(),
        }

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
            task = asyncio.create_task(peer.connection.close(drop.code, drop.reason))
            self._dropping[drop.viewer_id] = task
            task.add_done_callback(lambda _: self._dropping.pop(drop.viewer_id, None))

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECS)
            now = time.monotonic()
            self.session.tick(now)
            for peer in list(self._peers.values()):
                if peer.connection.protocol.state is not State.OPEN:
                    continue
                if peer.progress.is_stalled(pending_bytes=peer.pending_bytes(), n_sent=peer.n_sent, now=now):
                    _log.info("viewer %s took nothing for %d s: dropped", peer.viewer_id, self._stall_secs)
                    peer.connection.transport.abort()
            self._settle()


def _bound_kernel_queue(transport: asyncio.BaseTransport) -> None:
    """Left to itself the kernel queues megabytes for a slow viewer, who then watches what is long past."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _KERNEL_QUEUE_BYTES)


def _select_subprotocol(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol:
    return choose_subprotocol(offered)
