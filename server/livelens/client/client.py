"""A Python client of the same protocol that the page speaks: for scripts, tests and measurements.

    async with connect(url) as client:
        run = await client.start_run("When Mary and John went to the store,", channels=["neurons"])
        async for step in run:
            print(step.text, step.neurons.shape)

Arrays come as numpy, by channel: `step.neurons` and the like in float32, `step.tensors` as they were sent. A lost
connection is made again and the run joined where it was; what was missed is sent again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Literal
from urllib.parse import parse_qs, urlsplit, urlunsplit

from livelens.client.answers import Attention, Values, with_arrays
from livelens.client.connection import Connection
from livelens.client.directions import Directions
from livelens.client.errors import LivelensError
from livelens.client.questions import Questions
from livelens.client.rank_one_edits import RankOneEdits
from livelens.client.recording import Recordings
from livelens.client.run import ClientRun
from livelens.client.step_data import StepData
from livelens.protocol.components import parse_component
from livelens.protocol.messages import (
    CHANNELS,
    Acknowledged,
    AppliedInterventions,
    ApplyMode,
    AttentionReady,
    Channel,
    Component,
    Event,
    ForkRun,
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
    SelectionChanged,
    SetInterventions,
    SetSelection,
    SetTwin,
    ShareView,
    StartRun,
    StepOnce,
    Stop,
    Subscribe,
    TwinChanged,
    TwinMode,
    ValuesReady,
)

__all__ = ["Attention", "Client", "ClientRun", "LivelensError", "StepData", "Values", "ablate", "connect"]


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


class Client(Questions, Directions, RankOneEdits, Recordings):
    """One viewer of one server. `model_info` and `viewer_id` are there once it is connected."""

    def __init__(self, address: str, token: str | None, *, reconnect_secs: float) -> None:
        self._connection = Connection(
            address,
            token,
            reconnect_secs=reconnect_secs,
            on_event=self._take,
            on_return=self._rejoin,
            on_fault=self._fail,
        )
        self._run: ClientRun | None = None
        self._channels: list[Channel] = []
        self._listeners: list[Callable[[Event], None]] = []
        self._share_key: str | None = None

    async def __aenter__(self) -> Client:
        """Connect; raises LivelensError with the server's reason when it refuses."""
        await self._connection.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()

    @property
    def model_info(self) -> ModelInfo:
        """Shape and identity of the server's model."""
        return self._connection.model_info

    @property
    def viewer_id(self) -> str:
        """What names this viewer in `author` fields; another one after a reconnect."""
        return self._connection.viewer_id

    @property
    def n_bytes_received(self) -> int:
        """Bytes of all frames so far."""
        return self._connection.n_bytes_received

    @property
    def n_reconnects(self) -> int:
        """How often the connection was lost and made again."""
        return self._connection.n_reconnects

    @property
    def run(self) -> ClientRun | None:
        """The run that is watched."""
        return self._run

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
        twin: TwinMode = "off",
    ) -> ClientRun:
        """Begin a run and watch it; the run watched before is left. `sampling` overrides `max_new_tokens`."""
        await self.subscribe(channels)
        answer = await self._connection.ask(
            StartRun(
                request_id=self._connection.request_id(),
                prompt=prompt,
                apply_chat_template=apply_chat_template,
                sampling=sampling if sampling is not None else Sampling(max_new_tokens=max_new_tokens),
                start_paused=start_paused,
                intervention_log=list(intervention_log),
                target_token=target_token,
                distractor_token=distractor_token,
                twin=twin,
            ),
            RunStarted,
        )
        assert self._run is not None and self._run.run_id == answer.run.run_id
        return self._run

    async def fork_run(
        self,
        run: ClientRun,
        from_pos: int,
        *,
        token_text: str | None = None,
        sampling: Sampling | None = None,
        interventions: Sequence[InterventionSpec] | None = None,
        start_paused: bool = False,
        twin: TwinMode = "off",
    ) -> ClientRun:
        """Begin a run that branches off `run` at token `from_pos`, and watch it; `run` is left.

        token_text: put there instead. sampling: none is the other run's. interventions: the set from position
        from_pos - 1 on, which chooses that token; none is the other run's own log. All channels of now are sent.
        """
        answer = await self._connection.ask(
            ForkRun(
                request_id=self._connection.request_id(),
                run_id=run.run_id,
                from_pos=from_pos,
                token_text=token_text,
                sampling=sampling,
                interventions=None if interventions is None else list(interventions),
                start_paused=start_paused,
                twin=twin,
            ),
            RunStarted,
        )
        assert self._run is not None and self._run.run_id == answer.run.run_id
        return self._run

    async def join_run(
        self, run_id: str, *, channels: Sequence[Channel] | None = None, follows: bool = False
    ) -> ClientRun:
        """Watch a run that exists; its steps come newest first, then oldest first.

        follows: only goes along with those it shares with (see `share_view`), who are not told.
        """
        await self.subscribe(channels if channels is not None else self._channels)
        command = JoinRun(request_id=self._connection.request_id(), run_id=run_id, follows=follows)
        await self._connection.ask(command, RunJoined)
        assert self._run is not None and self._run.run_id == run_id
        return self._run

    async def subscribe(self, channels: Iterable[Channel], *, visible: bool = True) -> None:
        """Which channels to be sent from now on; only those are computed."""
        wanted = [channel for channel in CHANNELS if channel in set(channels)]
        await self._connection.ask(
            Subscribe(request_id=self._connection.request_id(), channels=wanted, visible=visible), Acknowledged
        )
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
        answer = await self._connection.ask(
            SetInterventions(
                request_id=self._connection.request_id(),
                run_id=run.run_id,
                interventions=list(interventions),
                mode=mode,
                recompute_from=recompute_from,
                restart=restart,
            ),
            InterventionsApplied,
        )
        return answer.applied

    async def set_twin(self, run: ClientRun, mode: TwinMode) -> int | None:
        """Carry the run's clean twin, or "off": no longer; returns the first position that both are carried from.

        Every step from there on has `twin`; the channel `difference` brings how every component differs.
        """
        command = SetTwin(request_id=self._connection.request_id(), run_id=run.run_id, mode=mode)
        return (await self._connection.ask(command, TwinChanged)).from_pos

    async def share_view(self, key: str | None) -> None:
        """Look at the same as the viewers who give this key, 16 to 64 of A-Z a-z 0-9 _ -; none: no longer.

        From then on `on_event` is told `RunShared` and `SelectionChanged` of the others.
        """
        self._share_key = key  # also for when the connection is made again
        await self._connection.ask(ShareView(request_id=self._connection.request_id(), key=key), Acknowledged)

    async def set_selection(self, component: str | Component | None, *, pos: int | None = None) -> None:
        """Tell those whom this viewer shares with what it looks at; `pos` none is the newest token."""
        parsed = parse_component(component) if isinstance(component, str) else component
        command = SetSelection(request_id=self._connection.request_id(), component=parsed, pos=pos)
        await self._connection.ask(command, SelectionChanged)

    async def pause(self, run: ClientRun) -> RunState:
        """Hold the run at its next token boundary."""
        command = Pause(request_id=self._connection.request_id(), run_id=run.run_id)
        return (await self._connection.ask(command, RunStateChanged)).state

    async def resume(self, run: ClientRun) -> RunState:
        """Let the run go on."""
        command = Resume(request_id=self._connection.request_id(), run_id=run.run_id)
        return (await self._connection.ask(command, RunStateChanged)).state

    async def step_once(self, run: ClientRun) -> RunState:
        """Make one token, then be paused."""
        command = StepOnce(request_id=self._connection.request_id(), run_id=run.run_id)
        return (await self._connection.ask(command, RunStateChanged)).state

    async def stop(self, run: ClientRun) -> RunState:
        """End the run; its text is kept."""
        command = Stop(request_id=self._connection.request_id(), run_id=run.run_id)
        return (await self._connection.ask(command, RunStateChanged)).state

    async def request_positions(self, run: ClientRun, positions: Sequence[int]) -> None:
        """Have these positions' steps sent again, whole, in the subscribed channels."""
        command = RequestPositions(
            request_id=self._connection.request_id(), run_id=run.run_id, positions=list(positions)
        )
        await self._connection.ask(command, Acknowledged)

    async def request_values(
        self, run: ClientRun, components: Sequence[str | Component], *, from_pos: int = 0, to_pos: int | None = None
    ) -> Values:
        """Float32 values of components by position."""
        parsed = [parse_component(item) if isinstance(item, str) else item for item in components]
        answer = await self._connection.ask(
            RequestValues(
                request_id=self._connection.request_id(),
                run_id=run.run_id,
                components=parsed,
                from_pos=from_pos,
                to_pos=to_pos,
            ),
            ValuesReady,
        )
        return with_arrays(answer, Values)

    async def request_attention(self, run: ClientRun, *, layer: int, head_index: int, query_pos: int) -> Attention:
        """One head's attention row, float32 [query_pos+1]."""
        answer = await self._connection.ask(
            RequestAttention(
                request_id=self._connection.request_id(),
                run_id=run.run_id,
                layer=layer,
                head_index=head_index,
                query_pos=query_pos,
            ),
            AttentionReady,
        )
        return with_arrays(answer, Attention)

    async def ping(self) -> int:
        """The server's monotonic clock, nanoseconds."""
        return (await self._connection.ask(Ping(request_id=self._connection.request_id()), Pong)).server_ns

    # ------------------------------------------------------------------ events

    def on_event(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Have `listener` told every event once the run has taken it; returns what ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener) if listener in self._listeners else None

    def _take(self, event: Event) -> None:
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
                self._connection.in_background(self._fill(self._run, holes))
        for listener in list(self._listeners):
            listener(event)

    async def _fill(self, run: ClientRun, positions: list[int]) -> None:
        """Ask for the tensors that were left out because this client was slow."""
        with contextlib.suppress(LivelensError):  # void by now, or the run is gone: nothing to fill
            await self.request_positions(run, positions)

    async def _rejoin(self) -> None:
        try:
            await self.subscribe(self._channels)
            if self._run is not None:
                last_seq = self._run.last_complete_seq
                command = JoinRun(request_id=self._connection.request_id(), run_id=self._run.run_id, last_seq=last_seq)
                await self._connection.ask(command, RunJoined)
            if self._share_key is not None:
                await self.share_view(self._share_key)
        except LivelensError as error:
            if error.code != "connection_lost":
                self._fail(error)

    def _fail(self, error: LivelensError) -> None:
        if self._run is not None:
            self._run.fail(error)
