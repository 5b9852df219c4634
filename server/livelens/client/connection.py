"""The Python client's connection: one command, one answer; made again when it is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine
from typing import Final, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from livelens.client.errors import LivelensError
from livelens.protocol.codec import CodecError, decode_event, encode_command
from livelens.protocol.messages import (
    SUBPROTOCOL,
    AnalysisProgress,
    Command,
    ErrorReport,
    Event,
    Hello,
    ModelInfo,
)
from livelens.protocol.tensors import TensorError

_MAX_FRAME_BYTES: Final = 256 * 1024 * 1024
_CLOSE_SECS: Final = 1.0
_FIRST_RETRY_SECS: Final = 0.1
_LAST_RETRY_SECS: Final = 3.0
_Answer = TypeVar("_Answer", bound=Event)


class Connection:
    """One viewer's websocket. `model_info` and `viewer_id` are there once it is open.

    on_event: called with every event but hello, before the command that it answers goes on.
    on_return: started when a lost connection is made again; takes up what was watched.
    on_fault: called once, when it is lost for good or damaged.
    """

    def __init__(
        self,
        address: str,
        token: str | None,
        *,
        reconnect_secs: float,
        on_event: Callable[[Event], None],
        on_return: Callable[[], Coroutine[None, None, None]],
        on_fault: Callable[[LivelensError], None],
    ) -> None:
        self.address = address
        self.token = token
        self._reconnect_secs = reconnect_secs
        self._on_event = on_event
        self._on_return = on_return
        self._on_fault = on_fault
        self.websocket: ClientConnection | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._next_request_id = 0
        self._waiting: dict[int, asyncio.Future[Event]] = {}
        self._on_progress: dict[int, Callable[[int, int], None]] = {}
        self._is_open = asyncio.Event()
        self._fault: LivelensError | None = None
        self._background: set[asyncio.Task[None]] = set()
        self.model_info: ModelInfo
        self.viewer_id: str
        self.n_bytes_received = 0
        self.n_reconnects = 0

    async def open(self) -> None:
        """Connect; raises LivelensError with the server's reason when it refuses."""
        await self._open()
        self._receiving = asyncio.create_task(self._receive())

    async def close(self) -> None:
        """Say goodbye, and end every task; harmless when closed."""
        tasks = [*self._background, *([self._receiving] if self._receiving is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self.websocket is not None:
            await self.websocket.close()

    def in_background(self, work: Coroutine[None, None, None]) -> None:
        """Let `work` run until it ends or the connection is closed."""
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # ------------------------------------------------------------------ one command, one answer

    def request_id(self) -> int:
        """A new one, for one command."""
        self._next_request_id += 1
        return self._next_request_id

    async def ask(
        self, command: Command, answer_type: type[_Answer], *, on_progress: Callable[[int, int], None] | None = None
    ) -> _Answer:
        """Send and wait for the answer; raises LivelensError when it is a refusal or the connection is lost.

        on_progress: called with what is done and the total, where the answer takes work.
        """
        await self._is_open.wait()
        if self._fault is not None:
            raise self._fault
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting[command.request_id] = future
        if on_progress is not None:
            self._on_progress[command.request_id] = on_progress
        try:
            await self._send(command)
            answer = await future
        finally:
            self._waiting.pop(command.request_id, None)
            self._on_progress.pop(command.request_id, None)
        if isinstance(answer, ErrorReport):
            raise LivelensError(answer.code, answer.message)
        if not isinstance(answer, answer_type):
            raise LivelensError("unexpected_answer", f"{type(answer).__name__} is no answer to this command")
        return answer

    async def _send(self, command: Command) -> None:
        assert self.websocket is not None
        try:
            await self.websocket.send(encode_command(command))
        except ConnectionClosed as error:
            raise LivelensError("connection_lost", "the connection was lost; the command was not taken") from error

    # ------------------------------------------------------------------ the connection

    async def _open(self) -> None:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        try:
            websocket = await open_websocket(
                self.address,
                subprotocols=[Subprotocol(SUBPROTOCOL)],
                additional_headers=headers,
                compression=None,
                max_size=_MAX_FRAME_BYTES,
                ping_interval=None,
                close_timeout=_CLOSE_SECS,  # the goodbye waits behind everything that is still on its way
                proxy=None,
            )
        except InvalidStatus as error:
            text = error.response.body.decode("utf-8", "replace") if error.response.body else str(error)
            raise LivelensError(f"refused_{error.response.status_code}", text) from error
        except (InvalidHandshake, OSError, TimeoutError) as error:
            raise LivelensError("cannot_connect", f"no livelens server answers there: {error}") from error
        try:
            hello = decode_event(_bytes(await websocket.recv()))
        except ConnectionClosed as error:
            raise LivelensError("refused", error.rcvd.reason if error.rcvd else "closed without a reason") from error
        if not isinstance(hello, Hello):
            raise LivelensError("not_livelens", "the first event was not hello")
        self.websocket = websocket
        self.model_info, self.viewer_id = hello.model_info, hello.viewer_id
        self._is_open.set()

    async def _receive(self) -> None:
        while True:
            assert self.websocket is not None
            try:
                async for message in self.websocket:
                    self._take(_bytes(message))
                reason = "the server closed the connection"
            except ConnectionClosed as error:
                reason = (
                    error.rcvd.reason if error.rcvd is not None and error.rcvd.reason else "the connection was lost"
                )
            except (CodecError, TensorError) as error:
                self._end(LivelensError("damaged_frame", f"the server sent what cannot be read: {error}"))
                return
            if not await self._come_back(reason):
                return

    async def _come_back(self, reason: str) -> bool:
        """Connect again and take up what was watched; false when that cannot be."""
        self._is_open.clear()
        self._fail_waiting(LivelensError("connection_lost", f"{reason}; the command may not have been taken"))
        deadline = asyncio.get_running_loop().time() + self._reconnect_secs
        wait_secs = _FIRST_RETRY_SECS
        while asyncio.get_running_loop().time() < deadline:
            try:
                await self._open()
                self.n_reconnects += 1
                break
            except LivelensError as error:
                reason = str(error)
                await asyncio.sleep(wait_secs * random.uniform(0.5, 1))  # noqa: S311 - only spreads the load
                wait_secs = min(2 * wait_secs, _LAST_RETRY_SECS)
        else:
            self._end(LivelensError("connection_lost", reason))
            return False
        self.in_background(self._on_return())
        return True

    def _end(self, error: LivelensError) -> None:
        self._fault = error
        self._is_open.set()
        self._fail_waiting(error)
        self._on_fault(error)

    def _fail_waiting(self, error: LivelensError) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)

    def _take(self, frame: bytes) -> None:
        self.n_bytes_received += len(frame)
        event = decode_event(frame)
        self._on_event(event)
        if isinstance(event, ErrorReport) and event.request_id is None:
            # Refused before its request_id was read (a flood, say): whatever is asked now may be what it was.
            self._fail_waiting(LivelensError(event.code, event.message))
        if isinstance(event, AnalysisProgress):
            on_progress = self._on_progress.get(event.request_id)
            if on_progress is not None:
                on_progress(event.done, event.total)
            return
        request_id = getattr(event, "request_id", None)
        future = self._waiting.get(request_id) if request_id is not None else None
        if future is not None and not future.done():
            future.set_result(event)


def _bytes(message: str | bytes) -> bytes:
    if isinstance(message, str):
        raise CodecError("bad_frame", "a text frame came from the server")
    return message
