"""A model that is watched from Python: generate token by token, take parts away in the middle, read what there was.

with livelens.view("smollm2") as view:
    for step in view.generate("When Mary and John went to the store, John gave a drink to", max_new_tokens=20):
        print(step.text, abs(step.heads).max())
        if step.pos == 20:
            view.ablate("L12H3")
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Final, Literal, Unpack

import numpy as np
from numpy.typing import NDArray

from livelens.client import ClientRun, LivelensError, StepData, Values, connect
from livelens.library.background import BackgroundLoop
from livelens.library.callbacks import Callbacks, NewSteps
from livelens.library.command import command
from livelens.library.generation import Generation
from livelens.library.own_server import serve_on_loopback
from livelens.library.questions import Questions
from livelens.library.registration import Registration, register
from livelens.library.selection import Selection
from livelens.library.showing import show_page
from livelens.library.standing import ablated, with_ablated, without
from livelens.library.tables import Channels, Tabular, answer_table, components_table, tokens_table
from livelens.model.engine import Engine
from livelens.model.interventions import check_interventions
from livelens.protocol.components import check_component, parse_component
from livelens.protocol.messages import (
    Channel,
    Component,
    Event,
    InterventionsApplied,
    InterventionSegment,
    InterventionSpec,
    ModelInfo,
    RunShared,
    RunStarted,
    Sampling,
    SelectionChanged,
    Step,
    TwinMode,
)

if TYPE_CHECKING:
    from pandas import DataFrame

    from livelens.notebook.scene import NetworkScene, SceneOptions

DEFAULT_CHANNELS: Final[tuple[Channel, ...]] = ("neurons", "heads", "attention", "residual")
ArrayName = Literal["neurons", "heads", "residual"]


class LiveView(Questions):
    """One engine behind a server of this process (loopback, a token of its own) and one viewer of it.

    Made by `livelens.view`. Every command may be called from a cell, which waits, or awaited as `.aio(...)`; Ctrl-C,
    or cancelling, ends the wait.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._standing: list[InterventionSpec] = []
        self._generation: Generation | None = None
        self._selection = Selection()
        self._channels: tuple[Channel, ...] = DEFAULT_CHANNELS
        self._is_open = True
        self._registration: Registration | None = None
        self._background = BackgroundLoop()
        self._step_callbacks: Callbacks[StepData] = Callbacks(self._background)
        self._selection_callbacks: Callbacks[Selection] = Callbacks(self._background)
        self._following: set[asyncio.Task[None]] = set()
        self._to_follow: str | None = None  # the run that a page went to last, unless one was begun here since
        self._changing_run = asyncio.Lock()
        self.share_key = secrets.token_urlsafe(24)  # what a page is given that looks at the same
        self._new_steps = NewSteps(self._step_callbacks)
        try:
            self._own = self._background.run(serve_on_loopback(self._engine))
            self.url = self._own.url
            self.client = connect(self.url)
            self.client.on_event(self._take)
            self._background.run(self._enter())
        except BaseException:
            self._background.close()
            raise

    async def _enter(self) -> None:
        await self.client.__aenter__()
        await self.client.share_view(self.share_key)

    def __enter__(self) -> LiveView:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the run, the server and their threads; the model is as it was. Harmless when closed."""
        if not self._is_open:
            return
        self._is_open = False
        if self._registration is not None:
            self._registration.remove()
        self._background.run(self.client.__aexit__(None, None, None))
        self._background.run(self._own.server.close())
        self._background.close()
        self._engine.close()

    @property
    def model_info(self) -> ModelInfo:
        """Shape and identity of the model."""
        return self.client.model_info

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
        match event:
            case Step():
                self._new_steps.take(self.client.run, event)
            case SelectionChanged():
                self._selected(Selection(component=event.component, pos=event.pos))
            case InterventionsApplied():
                if self._generation is not None and self._generation.run.run_id == event.run_id:
                    self._standing = list(event.applied.interventions)
            case RunStarted():
                self._to_follow = None  # those of its pages that were elsewhere come along
            case RunShared() if self.client.run is None or self.client.run.run_id != event.run_id:
                self._to_follow = event.run_id
                self._in_background(self._follow(event.run_id))
            case _:
                pass

    async def _follow(self, run_id: str) -> None:
        """Go along with a page to the run that it began or opened."""
        async with self._changing_run:
            if self._to_follow != run_id:
                return
            try:
                run = await self.client.join_run(run_id, channels=self._channels, follows=True)
            except LivelensError as error:
                if error.code not in ("run_unknown", "connection_lost"):
                    raise
                return
            self._goes_on_with(run)
            log = run.intervention_log
            self._standing = list(log[-1].interventions) if log else []

    def _goes_on_with(self, run: ClientRun) -> Generation:
        self._generation = Generation(self.background, self.client, run)
        return self._generation

    def _in_background(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._following.add(task)
        task.add_done_callback(self._followed)

    def _followed(self, task: asyncio.Task[None]) -> None:
        self._following.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._background.call_back(lambda: _raise(error))  # in the cell, where somebody sees it

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
        target_token: str | None = None,
        distractor_token: str | None = None,
        twin: TwinMode = "off",
    ) -> Generation:
        """Begin a run under the interventions that stand; the one before is stopped.

        sampling: overrides max_new_tokens. target_token, distractor_token: of the channel `direct_logit`; none is the
        chosen token, the mean of all.
        Nothing is computed ahead: iterate for one token at a time, or call `finish` for all of them.
        """
        async with self._changing_run:
            if self._generation is not None:
                await self._generation.stop.work()
            standing = self._standing
            self._channels = tuple(channels)
            run = await self.client.start_run(
                prompt,
                channels=channels,
                max_new_tokens=max_new_tokens,
                sampling=sampling,
                apply_chat_template=apply_chat_template,
                start_paused=True,
                target_token=target_token,
                distractor_token=distractor_token,
                twin=twin,
                intervention_log=[InterventionSegment(from_pos=0, interventions=standing)] if standing else [],
            )
            return self._goes_on_with(run)

    @command
    async def fork(
        self,
        from_pos: int,
        *,
        token_text: str | None = None,
        sampling: Sampling | None = None,
        interventions: Sequence[InterventionSpec] | None = None,
    ) -> Generation:
        """Begin a run that branches off the newest one at token `from_pos`, with `token_text` there instead.

        sampling, interventions: none is the other run's.
        """
        async with self._changing_run:
            parent = self.newest_run()
            run = await self.client.fork_run(
                parent,
                from_pos,
                token_text=token_text,
                sampling=sampling,
                interventions=interventions,
                start_paused=True,
            )
            if interventions is not None:
                self._standing = list(interventions)
            return self._goes_on_with(run)

    @property
    def generation(self) -> Generation | None:
        """The newest run, whether it was begun here or in a page that this view shows."""
        return self._generation

    @property
    def steps(self) -> list[StepData]:
        """What was captured, position by position, of the newest run; the last token has not been read yet."""
        run = self.newest_run()
        return [step for _, step in sorted(run.steps.copy().items())]

    def array(self, name: ArrayName) -> NDArray[np.float32]:
        """One channel of all steps: float32 [n_positions, ...], as in `StepData`."""
        return np.stack([getattr(step, name) for step in self.steps])

    @command
    async def values(self, *components: str | Component) -> Values:
        """Float32 values of components at every position of the newest run."""
        return await self.client.request_values(self.newest_run(), components)

    def to_pandas(self, what: Literal["tokens"] | Channels | Tabular = "tokens") -> DataFrame:
        """A table of the newest run, or of an answer.

        `tokens`: a row a position. `heads`, `neurons`: components by positions; `residual`: stream norms by positions.
        An attribution, paths: an edge a row; effects, scores, values: a component a row. Needs livelens[notebook].
        """
        if what == "tokens":
            return tokens_table(self.steps)
        if isinstance(what, str):
            return components_table(self.steps, what)
        return answer_table(what)

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
        await self.client.set_selection(parsed, pos=pos)

    def _selected(self, selection: Selection) -> None:
        if selection != self._selection:
            self._selection = selection
            self._selection_callbacks.tell(selection)

    def offer(self) -> str | None:
        """Offer the page to the Jupyter server of this kernel; its address there, see `jupyter_address`."""
        self.background()  # a closed view says so
        if self._registration is None:
            self._registration = register(port=self._own.port, token=self._own.token)
        return self.jupyter_address

    @property
    def jupyter_address(self) -> str | None:
        """Where the page is below Jupyter's own address, under its login.

        None before it is offered (`show`, `livelens.serve`), and where our extension is not enabled in Jupyter.
        """
        return None if self._registration is None else self._registration.address

    def show(self, *, height: int = 720) -> None:
        """Put the whole page into the output cell, `height` pixels high, on this view's session.

        A click in it is `selection`, what is taken away in it is in `ablated`, a run begun in it is `generation`; and
        the other way round. Where no frame can be shown it says so, with a still picture and the page's address.
        """
        show_page(self, frame_url=self._own.frame_url, height=height)

    def scene(self, **options: Unpack[SceneOptions]) -> NetworkScene:
        """The network as a pythreejs widget, which lights up with every token and can be clicked. See `NetworkScene`.

        Needs livelens[notebook]. Several may follow one view; `scene.close()` ends one.
        """
        from livelens.notebook.scene import NetworkScene

        return NetworkScene(self, **options)

    # ------------------------------------------------------------------ reaching in

    @property
    def interventions(self) -> list[InterventionSpec]:
        """What is changed in the network now, by this view or by a page that it shows."""
        return list(self._standing)

    @property
    def ablated(self) -> list[str]:
        """The components that are taken away or scaled now, by name."""
        return ablated(self._standing)

    @command
    async def ablate(self, *components: str | Component, amount: float = 0.0) -> None:
        """Multiply what these write by `amount`, from the next token on and in later runs, until `restore`."""
        await self._put(with_ablated(self._standing, components, amount))

    @command
    async def restore(self, *components: str | Component) -> None:
        """Give these back from the next token on; without any, take back every intervention."""
        await self._put(without(self._standing, components) if components else [])

    @command
    async def intervene(self, *interventions: InterventionSpec) -> None:
        """Replace the whole set, of any operations (`InterventionSpec`), from the next token on and in later runs."""
        await self._put(list(interventions))

    async def _put(self, interventions: list[InterventionSpec]) -> None:
        """Raises ValueError where one does not fit the model, and nothing is changed then."""
        check_interventions(interventions, self.model_info)
        generation = self._generation
        if generation is not None and not generation.is_finished:
            try:
                await self.client.set_interventions(generation.run, interventions)
                return  # the event has it, and by now perhaps a newer one
            except LivelensError as error:
                if error.code != "run_ended":  # in that very moment: they hold in the next run
                    raise
        self._standing = interventions

    # ------------------------------------------------------------------ checks

    def background(self) -> BackgroundLoop:
        """Where commands run; raises LivelensError once this view is closed."""
        if not self._is_open:
            raise LivelensError("closed", "this view is closed: make another with livelens.view(model)")
        return self._background

    def newest_run(self) -> ClientRun:
        """The run that commands are about; raises LivelensError where there is none."""
        if self._generation is None:
            raise LivelensError("no_run", "nothing was generated yet: call view.generate(...) first")
        return self._generation.run


def _raise(error: BaseException) -> None:
    raise error


__all__ = ["ArrayName", "Generation", "LiveView", "Selection"]
