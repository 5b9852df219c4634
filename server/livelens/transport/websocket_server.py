"""The session on a socket: one port for the page and the websocket, on websockets' asyncio server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Sequence
from typing import Final

from websockets.asyncio.server import Server as WebsocketsServer
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, NegotiationError
from websockets.http11 import Request, Response
from websockets.protocol import State
from websockets.typing import Subprotocol

from livelens.model.engine import Engine
from livelens.protocol.messages import MAX_COMMAND_BYTES
from livelens.session.session import DEFAULT_GRACE_SECS, Session
from livelens.transport.handshake import Handshake, agreed_subprotocol, no_subprotocol, version_mismatch
from livelens.transport.http_assets import Assets, load_assets
from livelens.transport.hub import MAX_CONNECTIONS, Hub, LinkClosedError, NoRoomError, bound_kernel_queue
from livelens.transport.progress import DEADLINE_SECS, kernel_queue_bytes
from livelens.transport.security import AccessPolicy

MAX_HALF_OPEN: Final = 64
_CLOSE_SECS: Final = 0.5
_RECEIVE_FRAMES: Final = 4
# The handshakes of strangers are not worth a line each, and their addresses may hold a token.
_websockets_log = logging.getLogger("livelens.websockets")
_websockets_log.setLevel(logging.CRITICAL)


class _WebsocketsLink:
    """A connection of the websockets library, as the hub sees it."""

    def __init__(self, connection: ServerConnection) -> None:
        self._connection = connection

    @property
    def is_open(self) -> bool:
        return self._connection.protocol.state is State.OPEN

    async def send(self, frame: bytes) -> None:
        try:
            await self._connection.send(frame)
        except ConnectionClosed as error:
            raise LinkClosedError from error

    def pending_bytes(self) -> int:
        transport = self._connection.transport
        return int(transport.get_write_buffer_size()) + kernel_queue_bytes(transport.get_extra_info("socket"))

    async def close(self, code: int, reason: str) -> None:
        await self._connection.close(code, reason)

    def abort(self) -> None:
        self._connection.transport.abort()


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
        self._hub = Hub(engine, grace_secs=grace_secs, max_connections=max_connections, stall_secs=stall_secs)
        self._handshake = Handshake(policy, assets if assets is not None else load_assets(), health=self._hub.health)
        self._half_open: dict[ServerConnection, None] = {}
        self._servers: list[WebsocketsServer] = []

    @property
    def session(self) -> Session:
        """The hub of runs and viewers."""
        return self._hub.session

    def pending_bytes(self) -> list[int]:
        """Bytes on their way to each viewer."""
        return [link.pending_bytes() for link in self._hub.links]

    async def start(self, sockets: Sequence[socket.socket]) -> None:
        """Answer on these bound sockets."""
        for sock in sockets:
            self._servers.append(await self._serve(sock))

    async def close(self) -> None:
        """Close every connection (1001) and end the model thread; takes well under 2 s."""
        self._hub.begin_closing()
        for server in self._servers:
            server.close(code=1001, reason="the server is shutting down")
        try:
            async with asyncio.timeout(_CLOSE_SECS):
                await asyncio.gather(*(server.wait_closed() for server in self._servers))
        except TimeoutError:
            for link in self._hub.links:
                link.abort()
            for connection in list(self._half_open):
                connection.transport.abort()
        self._hub.close()  # nothing is left on this loop that could wait for it

    async def _serve(self, sock: socket.socket) -> WebsocketsServer:
        owner = self

        class Connection(ServerConnection):
            """Adds our headers to every response, also those that the library makes of broken requests."""

            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                send_response = self.protocol.send_response

                def send_with_headers(response: Response) -> None:
                    owner._handshake.add_security_headers(response)
                    send_response(response)

                self.protocol.send_response = send_with_headers  # type: ignore[method-assign]
                bound_kernel_queue(transport.get_extra_info("socket"))
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
        return self._handshake.answer(request, has_room=self._hub.has_room)

    async def _viewer(self, connection: ServerConnection) -> None:
        """One viewer, from hello to goodbye."""
        mismatch = version_mismatch(connection.subprotocol)
        if mismatch is not None:
            await connection.close(1002, mismatch)
            return
        try:
            viewer_id = self._hub.enter(_WebsocketsLink(connection))
        except NoRoomError as error:  # several came in between check and handshake
            await connection.close(1013, str(error))
            return
        try:
            with contextlib.suppress(ConnectionClosed):
                async for message in connection:
                    pause_secs = self._hub.receive(viewer_id, message)
                    if pause_secs:
                        await asyncio.sleep(pause_secs)  # the socket fills, and the sender waits
        finally:
            await self._hub.leave(viewer_id)


def _select_subprotocol(_: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol:
    agreed = agreed_subprotocol(offered)
    if agreed is None:
        raise NegotiationError(no_subprotocol(offered))
    return Subprotocol(agreed)
