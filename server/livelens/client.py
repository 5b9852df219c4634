"""A Python client of the same protocol that the page speaks: for scripts, tests and measurements.

    async with connect(url) as client:
        run = await client.start_run("When Mary and John went to the store,", channels=["neurons"])
        async for step in run:
            print(step.text, step.neurons.shape)

Arrays come as numpy, by channel: `step.neurons` and the like in float32, `step.tensors` as they were sent. A lost
connection is made again and the run joined where it was; what was missed is sent again.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Coroutine, Iterable, Sequence
from typing import Final, Literal, TypeVar
from urllib.parse import parse_qs, urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.typing import Subprotocol

from livelens.client_run import Attention, ClientRun, LivelensError, StepData, Values
from livelens.protocol.codec import CodecError, decode_event, encode_command
from livelens.protocol.components import parse_component
from livelens.protocol.messages import (
    CHANNELS,
    SUBPROTOCOL,
    Acknowledged,
    AppliedInterventions,
    ApplyMode,
    AttentionReady,
    Channel,
    Command,
    Component,
    ErrorReport,
    Event,
    Hello,
    InterventionsApplied,
    InterventionSegment,
    InterventionSpec,
    JoinRun,
    ModelInfo,
    Pause,
    Ping,
    Pong,
    RequestAttention,
    RequestPositions,
    RequestValues,
    Resume,
    RunJoined,
    RunStarted,
    RunState,
    RunStateChanged,
    Sampling,
    SetInterventions,
    StartRun,
    StepOnce,
    Stop,
    Subscribe,
    ValuesReady,
)
from livelens.protocol.tensors import TensorError, reconstruct

__all__ = ["Attention", "Client", "ClientRun", "LivelensError", "StepData", "Values", "ablate", "connect"]

_MAX_FRAME_BYTES: Final = 256 * 1024 * 1024
_CLOSE_SECS: Final = 1.0
_FIRST_RETRY_SECS: Final = 0.1
_LAST_RETRY_SECS: Final = 3.0
_Answer = TypeVar("_Answer", bound=Event)


def ablate(*components: str | Component, amount: float = 0.0, intervention_id: str | None = None) -> InterventionSpec:
    """An intervention that multiplies what `components` (`L12H3`, `L7N1404`, `L5.attn`, `L5.mlp`) write by `amount`."""
    parsed = [parse_component(item) if isinstance(item, str) else item for item in components]
    name = intervention_id or "+".join(str(item) for item in components)[:64]
    operation: Literal["zero", "scale"] = "zero" if amount == 0 else "scale"
    return InterventionSpec(intervention_id=name, operation=operation, components=parsed, amount=amount)


def connect(url: str, *, token: str | None = None, reconnect_secs: float = 30.0) -> Client:
    """A client of the server at `url`, to be used with `async with`.

    url: what `livelens serve` printed (its token is taken out of it), or the address without the token.
    reconnect_secs: how long to try to come back after the connection is lost; 0 is not at all.
    """
    parts = urlsplit(url)
    in_url = parse_qs(parts.query).get("token", [])
    path = parts.path if parts.path.endswith("/") else parts.path + "/"
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    if scheme not in ("ws", "wss"):
        raise LivelensError("bad_url", f"{parts.scheme or 'nothing'}:// is not http:// or https://")
    address = urlunsplit((scheme, parts.netloc, path + "ws", "", ""))
    return Client(address, token if token is not None else next(iter(in_url), None), reconnect_secs=reconnect_secs)


class Client:
    """One viewer of one server. `model_info` and `viewer_id` are there once it is connected."""

    def __init__(self, address: str, token: str | None, *, reconnect_secs: float) -> None:
        self._address = address
        self._token = token
        self._reconnect_secs = reconnect_secs
        self._websocket: ClientConnection | None = None
        self._receiving: asyncio.Task[None] | None = None
        self._next_request_id = 0
        self._waiting: dict[int, asyncio.Future[Event]] = {}
        self._is_open = asyncio.Event()
        self._fault: LivelensError | None = None
        self._run: ClientRun | None = None
        self._channels: list[Channel] = []
        self._background: set[asyncio.Task[None]] = set()
        self.model_info: ModelInfo
        self.viewer_id: str
        self.n_bytes_received = 0
        self.n_reconnects = 0

    async def __aenter__(self) -> Client:
        """Connect; raises LivelensError with the server's reason when it refuses."""
        await self._open()
        self._receiving = asyncio.create_task(self._receive())
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [*self._background, *([self._receiving] if self._receiving is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._websocket is not None:
            await self._websocket.close()

    # ------------------------------------------------------------------ commands

    async def start_run(
        self,
        prompt: str,
        *,
        channels: Sequence[Channel] = ("neurons", "heads", "attention", "residual"),
        sampling: Sampling | None = None,
        max_new_tokens: int = 64,
        apply_chat_template: bool = False,
        start_paused: bool = False,
        intervention_log: Sequence[InterventionSegment] = (),
        target_token: str | None = None,
        distractor_token: str | None = None,
    ) -> ClientRun:
        """Begin a run and watch it; the run watched before is left. `sampling` overrides `max_new_tokens`."""
        await self.subscribe(channels)
        answer = await self._ask(
            StartRun(
                request_id=self._request_id(),
                prompt=prompt,
                apply_chat_template=apply_chat_template,
                sampling=sampling if sampling is not None else Sampling(max_new_tokens=max_new_tokens),
                start_paused=start_paused,
                intervention_log=list(intervention_log),
                target_token=target_token,
                distractor_token=distractor_token,
            ),
            RunStarted,
        )
        assert self._run is not None and self._run.run_id == answer.run.run_id
        return self._run

    async def join_run(self, run_id: str, *, channels: Sequence[Channel] | None = None) -> ClientRun:
        """Watch a run that exists; its steps come newest first, then oldest first."""
        await self.subscribe(channels if channels is not None else self._channels)
        await self._ask(JoinRun(request_id=self._request_id(), run_id=run_id), RunJoined)
        assert self._run is not None and self._run.run_id == run_id
        return self._run

    async def subscribe(self, channels: Iterable[Channel], *, visible: bool = True) -> None:
        """Which channels to be sent from now on; only those are computed."""
        wanted = [channel for channel in CHANNELS if channel in set(channels)]
        await self._ask(Subscribe(request_id=self._request_id(), channels=wanted, visible=visible), Acknowledged)
        self._channels = wanted

    async def set_interventions(
        self,
        run: ClientRun,
        interventions: Sequence[InterventionSpec],
        *,
        mode: ApplyMode = "from_now",
        recompute_from: int = 0,
        restart: bool = False,
    ) -> AppliedInterventions:
        """Replace the run's whole set; returns the position from which it holds."""
        answer = await self._ask(
            SetInterventions(
                request_id=self._request_id(),
                run_id=run.run_id,
                interventions=list(interventions),
                mode=mode,
                recompute_from=recompute_from,
                restart=restart,
            ),
            InterventionsApplied,
        )
        return answer.applied

    async def pause(self, run: ClientRun) -> RunState:
        """Hold the run at its next token boundary."""
        command = Pause(request_id=self._request_id(), run_id=run.run_id)
        return (await self._ask(command, RunStateChanged)).state

    async def resume(self, run: ClientRun) -> RunState:
        """Let the run go on."""
        command = Resume(request_id=self._request_id(), run_id=run.run_id)
        return (await self._ask(command, RunStateChanged)).state

    async def step_once(self, run: ClientRun) -> RunState:
        """Make one token, then be paused."""
        command = StepOnce(request_id=self._request_id(), run_id=run.run_id)
        return (await self._ask(command, RunStateChanged)).state

    async def stop(self, run: ClientRun) -> RunState:
        """End the run; its text is kept."""
        command = Stop(request_id=self._request_id(), run_id=run.run_id)
        return (await self._ask(command, RunStateChanged)).state

    async def request_positions(self, run: ClientRun, positions: Sequence[int]) -> None:
        """Have these positions' steps sent again, whole, in the subscribed channels."""
        command = RequestPositions(request_id=self._request_id(), run_id=run.run_id, positions=list(positions))
        await self._ask(command, Acknowledged)

    async def request_values(
        self, run: ClientRun, components: Sequence[str | Component], *, from_pos: int = 0, to_pos: int | None = None
    ) -> Values:
        """Float32 values of components by position."""
        parsed = [parse_component(item) if isinstance(item, str) else item for item in components]
        answer = await self._ask(
            RequestValues(
                request_id=self._request_id(), run_id=run.run_id, components=parsed, from_pos=from_pos, to_pos=to_pos
            ),
            ValuesReady,
        )
        values: NDArray[np.float32] = reconstruct(answer.values).astype(np.float32)
        return Values(components=answer.components, positions=answer.positions, values=values, exact=answer.exact)

    async def request_attention(self, run: ClientRun, *, layer: int, head_index: int, query_pos: int) -> Attention:
        """One head's attention row, float32 [query_pos+1]."""
        answer = await self._ask(
            RequestAttention(
                request_id=self._request_id(),
                run_id=run.run_id,
                layer=layer,
                head_index=head_index,
                query_pos=query_pos,
            ),
            AttentionReady,
        )
        row: NDArray[np.float32] = reconstruct(answer.row).astype(np.float32)
        return Attention(row=row, exact=answer.exact)

    async def ping(self) -> int:
        """The server's monotonic clock, nanoseconds."""
        return (await self._ask(Ping(request_id=self._request_id()), Pong)).server_ns

    # ------------------------------------------------------------------ one command, one answer

    def _request_id(self) -> int:
        self._next_request_id += 1
        return self._next_request_id

    async def _ask(self, command: Command, answer_type: type[_Answer]) -> _Answer:
        await self._is_open.wait()
        if self._fault is not None:
            raise self._fault
        future: asyncio.Future[Event] = asyncio.get_running_loop().create_future()
        self._waiting[command.request_id] = future
        try:
            await self._send(command)
            answer = await future
        finally:
            self._waiting.pop(command.request_id, None)
        if isinstance(answer, ErrorReport):
            raise LivelensError(answer.code, answer.message)
        if not isinstance(answer, answer_type):
            raise LivelensError("unexpected_answer", f"{type(answer).__name__} is no answer to this command")
        return answer

    async def _send(self, command: Command) -> None:
        assert self._websocket is not None
        try:
            await self._websocket.send(encode_command(command))
        except ConnectionClosed as error:
            raise LivelensError("connection_lost", "the connection was lost; the command was not taken") from error

    # ------------------------------------------------------------------ the connection

    async def _open(self) -> None:
        headers = {"Authorization": f"Bearer {self._token}"} if self._token else {}
        try:
            websocket = await open_websocket(
                self._address,
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
        self._websocket = websocket
        self.model_info, self.viewer_id = hello.model_info, hello.viewer_id
        self._is_open.set()

    async def _receive(self) -> None:
        while True:
            assert self._websocket is not None
            try:
                async for message in self._websocket:
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
        """Connect again and join the run where it was; false when that cannot be."""
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
        self._in_background(self._rejoin())
        return True

    async def _rejoin(self) -> None:
        try:
            await self.subscribe(self._channels)
            if self._run is not None:
                last_seq = self._run.last_complete_seq
                command = JoinRun(request_id=self._request_id(), run_id=self._run.run_id, last_seq=last_seq)
                await self._ask(command, RunJoined)
        except LivelensError as error:
            if error.code != "connection_lost" and self._run is not None:
                self._run.fail(error)

    def _end(self, error: LivelensError) -> None:
        self._fault = error
        self._is_open.set()
        self._fail_waiting(error)
        if self._run is not None:
            self._run.fail(error)

    def _fail_waiting(self, error: LivelensError) -> None:
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(error)

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # ------------------------------------------------------------------ events

    def _take(self, frame: bytes) -> None:
        self.n_bytes_received += len(frame)
        event = decode_event(frame)
        if isinstance(event, RunStarted) or (
            isinstance(event, RunJoined) and (self._run is None or self._run.run_id != event.run.run_id)
        ):
            if self._run is not None:
                self._run.leave()
            self._run = ClientRun(event.run)
        if self._run is not None:
            self._run.take(event)
            if self._run.holes:
                holes, self._run.holes = self._run.holes, []
                self._in_background(self._fill(self._run, holes))
        if isinstance(event, ErrorReport) and event.request_id is None:
            # Refused before its request_id was read (a flood, say): whatever is asked now may be what it was.
            self._fail_waiting(LivelensError(event.code, event.message))
        request_id = getattr(event, "request_id", None)
        future = self._waiting.get(request_id) if request_id is not None else None
        if future is not None and not future.done():
            future.set_result(event)

    async def _fill(self, run: ClientRun, positions: list[int]) -> None:
        """Ask for the tensors that were left out because this client was slow."""
        with contextlib.suppress(LivelensError):  # void by now, or the run is gone: nothing to fill
            await self.request_positions(run, positions)


def _bytes(message: str | bytes) -> bytes:
    if isinstance(message, str):
        raise CodecError("bad_frame", "a text frame came from the server")
    return message
