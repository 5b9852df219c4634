"""One viewer's websocket in Jupyter: tornado owns the socket, the hub has the say."""

from __future__ import annotations

import asyncio
from typing import Final

from jupyter_core.utils import ensure_async
from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.iostream import IOStream, StreamClosedError
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from livelens.jupyter.handlers import AUTH_RESOURCE, LivelensHandler
from livelens.jupyter.models import Entrance, ModelUnavailableError, Watched
from livelens.protocol.messages import MAX_COMMAND_BYTES
from livelens.transport.handshake import RETRY_AFTER_SECS, agreed_subprotocol, no_subprotocol, version_mismatch
from livelens.transport.hub import LinkClosedError, NoRoomError, bound_kernel_queue
from livelens.transport.progress import kernel_queue_bytes

_CLOSE_REASON_BYTES: Final = 123


class ViewerSocket(WebSocketMixin, WebSocketHandler, LivelensHandler):
    """From Jupyter's login to goodbye. Nothing is read before hello has been sent."""

    auth_resource = AUTH_RESOURCE

    def initialize(self, watched: Watched) -> None:
        """watched: every model that may be watched."""
        super().initialize(watched)
        self._hub: Entrance | None = None
        self._viewer_id: str | None = None
        self._entering: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None

    @property
    def max_message_size(self) -> int:
        """Bytes; a longer message ends the connection (1009)."""
        return MAX_COMMAND_BYTES

    def get_compression_options(self) -> None:
        """None: frames are compressed already, and a small one must not become a big one."""

    @ws_authenticated
    async def get(self, place: str | None = None) -> None:
        """The handshake; tornado's part of it checks Origin and the upgrade headers."""
        may = await ensure_async(self.authorizer.is_authorized(self, self.current_user, "execute", AUTH_RESOURCE))
        if not may:
            raise web.HTTPError(403, reason="Jupyter does not authorize you to use livelens")
        self._model = self.model_at(place)
        offered = self.request.headers.get("Sec-WebSocket-Protocol", "")
        names = [item.strip() for item in offered.split(",") if item.strip()]
        if agreed_subprotocol(names) is None:
            raise web.HTTPError(400, reason=no_subprotocol([]))
        if not self._model.has_room:
            self.set_header("Retry-After", str(RETRY_AFTER_SECS))
            self.set_status(503)
            self.finish("Too many connections are open: close a tab, or try again in a few seconds.")
            return
        await super().get()

    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        """Ours, or another version of ours, which is then closed with the reason."""
        return agreed_subprotocol(subprotocols)

    def open(self, *_: str, **__: str) -> None:
        """The handshake is done: load the model if need be, then enter."""
        super().open()
        mismatch = version_mismatch(self.selected_subprotocol)
        if mismatch is not None:
            self.close(1002, mismatch)
            return
        link = TornadoLink(self)
        self._entering = asyncio.create_task(self._enter(link))

    async def _enter(self, link: TornadoLink) -> None:
        try:
            hub = await self._model.ready()
            if self.ws_connection is None:  # left while the model was loading
                return
            self._viewer_id, self._hub = hub.enter(link), hub
        except ModelUnavailableError as error:
            self.close(1011, _shortened(str(error)))
        except NoRoomError as error:
            self.close(1013, str(error))

    async def on_message(self, message: str | bytes) -> None:
        """One message of the viewer; tornado reads the next one when this is done."""
        if self._hub is not None and self._viewer_id is not None:
            pause_secs = self._hub.receive(self._viewer_id, message)
            if pause_secs:
                await asyncio.sleep(pause_secs)
        else:
            self.close(1002, "commands come after hello")

    def on_close(self) -> None:
        """The connection has ended, by whichever side."""
        super().on_close()
        if self._entering is not None:
            self._entering.cancel()
        if self._hub is not None and self._viewer_id is not None:
            self._leaving = asyncio.ensure_future(self._hub.leave(self._viewer_id))
            self._hub = None


class TornadoLink:
    """A connection of tornado, as the hub sees it."""

    def __init__(self, handler: ViewerSocket) -> None:
        self._handler = handler
        stream = handler.ws_connection.stream if handler.ws_connection is not None else None
        if not isinstance(stream, IOStream):
            raise LinkClosedError
        bound_kernel_queue(stream.socket)
        self._stream = stream

    @property
    def is_open(self) -> bool:
        connection = self._handler.ws_connection
        return connection is not None and not connection.is_closing()

    async def send(self, frame: bytes) -> None:
        try:
            await self._handler.write_message(frame, binary=True)
        except (WebSocketClosedError, StreamClosedError) as error:
            raise LinkClosedError from error

    def pending_bytes(self) -> int:
        # tornado tells only whether it is writing; whether a viewer is stalled shows in how much is left
        return len(self._stream._write_buffer) + kernel_queue_bytes(self._stream.socket)

    async def close(self, code: int, reason: str) -> None:
        self._handler.close(code, reason)

    def abort(self) -> None:
        self._stream.close()


def _shortened(reason: str) -> str:
    return reason.encode()[:_CLOSE_REASON_BYTES].decode("utf-8", "ignore")
