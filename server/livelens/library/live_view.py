"""A model that is watched from Python: generate token by token, take parts away in the middle, read what there was.

with livelens.view("smollm2") as view:
    for step in view.generate("When Mary and John went to the store, John gave a drink to", max_new_tokens=20):
        print(step.text, abs(step.heads).max())
        if step.pos == 20:
            view.ablate("L12H3")
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from livelens.client import ClientRun, LivelensError, StepData, Values, ablate, connect
from livelens.library.background import BackgroundLoop
from livelens.library.callbacks import Callbacks
from livelens.library.command import command
from livelens.library.generation import Generation
from livelens.library.selection import Selection
from livelens.model.engine import Engine
from livelens.protocol.components import check_component, component_id, parse_component
from livelens.protocol.messages import (
    Channel,
    Component,
    Event,
    InterventionSegment,
    InterventionSpec,
    ModelInfo,
    Sampling,
    Step,
)
from livelens.serving import bind
from livelens.transport.security import AccessPolicy, new_token
from livelens.transport.websocket_server import LivelensServer

DEFAULT_CHANNELS: Final[tuple[Channel, ...]] = ("neurons", "heads", "attention", "residual")
_HOST: Final = "127.0.0.1"
ArrayName = Literal["neurons", "heads", "residual"]


class LiveView:
    """One engine behind a server of this process (loopback, a token of its own) and one viewer of it.

    Made by `livelens.view`. Every command may be called from a cell, which waits, or awaited as `.aio(...)`; Ctrl-C,
    or cancelling, ends the wait.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ablated: dict[str, InterventionSpec] = {}
        self._generation: Generation | None = None
        self._selection = Selection()
        self._is_open = True
        self._background = BackgroundLoop()
        self._step_callbacks: Callbacks[StepData] = Callbacks(self._background)
        self._selection_callbacks: Callbacks[Selection] = Callbacks(self._background)
        self._told: dict[int, int] = {}  # position -> revision of the newest run, of what was called back
        try:
            self._server, self.url = self._background.run(self._serve())
            self._client = connect(self.url)
            self._client.on_event(self._take)
            self._background.run(self._client.__aenter__())
        except BaseException:
            self._background.close()
            raise

    async def _serve(self) -> tuple[LivelensServer, str]:
        sockets = bind(_HOST, 0)
        port, token = int(sockets[0].getsockname()[1]), new_token()
        policy = AccessPolicy(host=_HOST, port=port, token=token)
        server = LivelensServer(self._engine, policy)
        await server.start(sockets)
        return server, f"http://{_HOST}:{port}/?token={token}"

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the run, the server and their threads; the model is as it was. Harmless when closed."""
        if not self._is_open:
            return
        self._is_open = False
        self._background.run(self._client.__aexit__(None, None, None))
        self._background.run(self._server.close())
        self._background.close()
        self._engine.close()

    @property
    def model_info(self) -> ModelInfo:
        """Shape and identity of the model."""
        return self._client.model_info

    # ------------------------------------------------------------------ being told

    def on_step(self, callback: Callable[[StepData], None]) -> Callable[[], None]:
        """Have `callback` called with every position of every run as it is captured; returns what ends that.

        It runs on the thread that made this view: while a cell waits for the view, and in a notebook whenever no cell
        is busy. What it raises is raised by the command that waits, or else told to the kernel's event loop.
        """
        return self._step_callbacks.add(callback)

    def on_selection(self, callback: Callable[[Selection], None]) -> Callable[[], None]:
        """The same for every change of `selection`, whether it was made here or in a page."""
        return self._selection_callbacks.add(callback)

    def _take(self, event: Event) -> None:
        """On the background loop, with every event."""
        if isinstance(event, Step):
            self._take_step(event)

    def _take_step(self, event: Step) -> None:
        run = self._client.run
        if run is None or run.run_id != event.run_id:
            return
        step = run.steps.get(event.pos)
        if step is None or step.info.detail_dropped or self._told.get(event.pos) == step.info.revision:
            return  # more of a position of which was told, such as its lens
        self._told[event.pos] = step.info.revision
        self._step_callbacks.tell(step)

    # ------------------------------------------------------------------ generating

    @command
    async def generate(
        self,
        prompt: str,
        *,
        max_new_tokens: int = 64,
        sampling: Sampling | None = None,
        channels: Sequence[Channel] = DEFAULT_CHANNELS,
        apply_chat_template: bool = False,
    ) -> Generation:
        """Begin a run under the ablations that stand; the one before is stopped. `sampling` overrides max_new_tokens.

        Nothing is computed ahead: iterate for one token at a time, or call `finish` for all of them.
        """
        if self._generation is not None:
            await self._generation.stop.work()
        standing = list(self._ablated.values())
        self._told.clear()
        run = await self._client.start_run(
            prompt,
            channels=channels,
            max_new_tokens=max_new_tokens,
            sampling=sampling,
            apply_chat_template=apply_chat_template,
            start_paused=True,
            intervention_log=[InterventionSegment(from_pos=0, interventions=standing)] if standing else [],
        )
        self._generation = Generation(self.background, self._client, run)
        return self._generation

    @property
    def steps(self) -> list[StepData]:
        """What was captured, position by position, of the newest run; the last token has not been read yet."""
        run = self._newest_run()
        return [step for _, step in sorted(run.steps.copy().items())]

    def array(self, name: ArrayName) -> NDArray[np.float32]:
        """One channel of all steps: float32 [n_positions, ...], as in `StepData`."""
        return np.stack([getattr(step, name) for step in self.steps])

    @command
    async def values(self, *components: str | Component) -> Values:
        """Float32 values of components at every position of the newest run."""
        return await self._client.request_values(self._newest_run(), components)

    # ------------------------------------------------------------------ looking

    @property
    def selection(self) -> Selection:
        """What is selected, here or in a page that this view shows."""
        return self._selection

    @command
    async def select(self, component: str | Component | None, *, pos: int | None = None) -> None:
        """Select a component, or nothing; `pos` none is the newest token. Every page that this view shows follows."""
        parsed = parse_component(component) if isinstance(component, str) else component
        if parsed is not None:
            check_component(parsed, self.model_info)
        self._selected(Selection(component=parsed, pos=pos))

    def _selected(self, selection: Selection) -> None:
        if selection != self._selection:
            self._selection = selection
            self._selection_callbacks.tell(selection)

    # ------------------------------------------------------------------ reaching in

    @property
    def ablated(self) -> list[str]:
        """The components that are taken away now, by name."""
        return list(self._ablated)

    @command
    async def ablate(self, *components: str | Component, amount: float = 0.0) -> None:
        """Multiply what these write by `amount`, from the next token on and in later runs, until `restore`."""
        for component in components:
            name = _name(component)
            self._ablated[name] = ablate(component, amount=amount, intervention_id=name)
        await self._apply()

    @command
    async def restore(self, *components: str | Component) -> None:
        """Give these back from the next token on; without any, all of them."""
        for name in [_name(component) for component in components] or list(self._ablated):
            self._ablated.pop(name, None)
        await self._apply()

    async def _apply(self) -> None:
        generation = self._generation
        if generation is None or generation.is_finished:
            return
        try:
            await self._client.set_interventions(generation.run, list(self._ablated.values()))
        except LivelensError as error:
            if error.code != "run_ended":  # in that very moment: they hold in the next run
                raise

    # ------------------------------------------------------------------ checks

    def background(self) -> BackgroundLoop:
        """Where commands run; raises LivelensError once this view is closed."""
        if not self._is_open:
            raise LivelensError("closed", "this view is closed: make another with livelens.view(model)")
        return self._background

    def _newest_run(self) -> ClientRun:
        if self._generation is None:
            raise LivelensError("no_run", "nothing was generated yet: call view.generate(...) first")
        return self._generation.run


def _name(component: str | Component) -> str:
    return component_id(parse_component(component) if isinstance(component, str) else component)


__all__ = ["ArrayName", "Generation", "LiveView", "Selection"]
