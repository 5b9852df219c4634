"""A model that is watched from Python: generate token by token, take parts away in the middle, read what there was.

with livelens.view("smollm2") as view:
    for step in view.generate("When Mary and John went to the store, John gave a drink to", max_new_tokens=20):
        print(step.text, abs(step.heads).max())
        if step.pos == 20:
            view.ablate("L12H3")
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from types import TracebackType
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from livelens.client import Client, ClientRun, LivelensError, StepData, Values, ablate, connect
from livelens.library.background import BackgroundLoop
from livelens.model.engine import Engine
from livelens.protocol.components import component_id, parse_component
from livelens.protocol.messages import (
    Channel,
    Component,
    InterventionSegment,
    InterventionSpec,
    ModelInfo,
    RunState,
    Sampling,
)
from livelens.serving import bind
from livelens.transport.security import AccessPolicy, new_token
from livelens.transport.websocket_server import LivelensServer

DEFAULT_CHANNELS: Final[tuple[Channel, ...]] = ("neurons", "heads", "attention", "residual")
_HOST: Final = "127.0.0.1"
ArrayName = Literal["neurons", "heads", "residual"]


class LiveView:
    """One engine behind a server of this process (loopback, a token of its own) and one viewer of it.

    Made by `livelens.view`. Blocking; every method may be called from a notebook cell, and Ctrl-C ends the wait.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ablated: dict[str, InterventionSpec] = {}
        self._generation: Generation | None = None
        self._is_open = True
        self._background = BackgroundLoop()
        try:
            self._server, self.url = self._background.run(self._serve())
            self._client = connect(self.url)
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

    # ------------------------------------------------------------------ generating

    def generate(
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
        client = self._checked()
        if self._generation is not None:
            self._generation.stop()
        standing = list(self._ablated.values())
        run = self._background.run(
            client.start_run(
                prompt,
                channels=channels,
                max_new_tokens=max_new_tokens,
                sampling=sampling,
                apply_chat_template=apply_chat_template,
                start_paused=True,
                intervention_log=[InterventionSegment(from_pos=0, interventions=standing)] if standing else [],
            )
        )
        self._generation = Generation(self._background, client, run)
        return self._generation

    @property
    def steps(self) -> list[StepData]:
        """What was captured, position by position, of the newest run; the last token has not been read yet."""
        run = self._newest_run()
        return [run.steps[pos] for pos in sorted(run.steps)]

    def array(self, name: ArrayName) -> NDArray[np.float32]:
        """One channel of all steps: float32 [n_positions, ...], as in `StepData`."""
        return np.stack([getattr(step, name) for step in self.steps])

    def values(self, *components: str | Component) -> Values:
        """Float32 values of components at every position of the newest run."""
        return self._background.run(self._checked().request_values(self._newest_run(), components))

    # ------------------------------------------------------------------ reaching in

    @property
    def ablated(self) -> list[str]:
        """The components that are taken away now, by name."""
        return list(self._ablated)

    def ablate(self, *components: str | Component, amount: float = 0.0) -> None:
        """Multiply what these write by `amount`, from the next token on and in later runs, until `restore`."""
        for component in components:
            name = _name(component)
            self._ablated[name] = ablate(component, amount=amount, intervention_id=name)
        self._apply()

    def restore(self, *components: str | Component) -> None:
        """Give these back from the next token on; without any, all of them."""
        for name in [_name(component) for component in components] or list(self._ablated):
            self._ablated.pop(name, None)
        self._apply()

    def _apply(self) -> None:
        client, generation = self._checked(), self._generation
        if generation is not None and not generation.is_finished:
            self._background.run(client.set_interventions(generation.run, list(self._ablated.values())))

    # ------------------------------------------------------------------ checks

    def _checked(self) -> Client:
        if not self._is_open:
            raise LivelensError("closed", "this view is closed: make another with livelens.view(model)")
        return self._client

    def _newest_run(self) -> ClientRun:
        if self._generation is None:
            raise LivelensError("no_run", "nothing was generated yet: call view.generate(...) first")
        return self._generation.run


class Generation:
    """A run that goes on only when it is asked to: by iterating, one token at a time, or by `finish`."""

    def __init__(self, background: BackgroundLoop, client: Client, run: ClientRun) -> None:
        self._background = background
        self._client = client
        self.run = run

    @property
    def text(self) -> str:
        """What was generated so far, without the prompt."""
        return self.run.text

    @property
    def is_finished(self) -> bool:
        """No token will follow."""
        return self.run.finish_reason is not None

    def __iter__(self) -> Iterator[StepData]:
        """The steps of the prompt, then one for each token as it is made. The loop may ablate in between."""
        n_given = 0
        while True:
            for pos in range(n_given, self._background.run(self._next(n_given))):
                n_given = pos + 1
                yield self.run.steps[pos]
            if self.is_finished and n_given >= len(self.run.steps):
                return

    async def _next(self, n_given: int) -> int:
        """Make tokens until there is a position more than `n_given`, or the end; how many positions there are."""
        run = self.run
        while run.finish_reason is None and not _is_read(run, n_given):
            await self._one_token()
        if run.finish_reason is not None:
            await self._ended()
        return _n_read(run)

    async def _one_token(self) -> None:
        n_before = len(self.run.tokens)
        await self._ask(self._client.step_once)
        await self.run.until(lambda run: len(run.tokens) > n_before or run.finish_reason is not None)

    async def _ask(self, command: Callable[[ClientRun], Coroutine[None, None, RunState]]) -> None:
        try:
            await command(self.run)
        except LivelensError as error:
            if error.code != "run_ended":  # it ended in that very moment; why, is about to be told
                raise

    async def _ended(self) -> None:
        """Wait for everything of the run; raises LivelensError when it was the engine that failed."""
        if await self.run.finished() == "engine_fault":
            raise LivelensError("engine_fault", self.run.finish_message)

    def finish(self) -> Generation:
        """Make all the tokens that are left, at full speed; Ctrl-C stops the run and is raised."""
        try:
            self._background.run(self._run_to_end())
        except KeyboardInterrupt:
            self.stop()
            raise
        return self

    async def _run_to_end(self) -> None:
        if self.run.finish_reason is None:
            await self._ask(self._client.resume)
        await self._ended()

    def stop(self) -> None:
        """End the run where it is; harmless when it has ended."""
        if not self.is_finished:
            self._background.run(self._ask(self._client.stop))


def _is_read(run: ClientRun, pos: int) -> bool:
    return _n_read(run) > pos


def _n_read(run: ClientRun) -> int:
    """Positions from the first on of which everything is here."""
    n_read = 0
    while n_read in run.steps and not run.steps[n_read].info.detail_dropped:
        n_read += 1
    return n_read


def _name(component: str | Component) -> str:
    return component_id(parse_component(component) if isinstance(component, str) else component)


__all__ = ["ArrayName", "Generation", "LiveView"]
