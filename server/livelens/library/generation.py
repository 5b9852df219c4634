"""A run of a view: it goes on only when it is asked to, by iterating or by `finish`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Coroutine, Iterator

from livelens.client import Client, ClientRun, LivelensError, StepData
from livelens.library.background import BackgroundLoop
from livelens.library.command import command
from livelens.library.progress import ProgressLine
from livelens.protocol.messages import RunState


class Generation:
    """Made by `view.generate`. `for step in generation`, or `async for`, makes one token at a time."""

    def __init__(self, find_background: Callable[[], BackgroundLoop], client: Client, run: ClientRun) -> None:
        """find_background: raises LivelensError once the view is closed."""
        self.background = find_background
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
            for pos in range(n_given, self.background().run(self._next(n_given))):
                n_given = pos + 1
                yield self.run.steps[pos]
            if self._is_all_given(n_given):
                return

    async def __aiter__(self) -> AsyncIterator[StepData]:
        """The same for `async for`: the kernel goes on while a token is made."""
        n_given = 0
        while True:
            for pos in range(n_given, await self.background().awaited(self._next(n_given))):
                n_given = pos + 1
                yield self.run.steps[pos]
            if self._is_all_given(n_given):
                return

    @command
    async def finish(self) -> Generation:
        """Make all the tokens that are left, at full speed. Ctrl-C pauses the run: `finish` again goes on."""
        try:
            if self.run.finish_reason is None:
                await self._ask(self._client.resume)
            with ProgressLine(self.background(), "generate") as line:
                await self.run.until(lambda run: _reported_end(run, line))
            await self._ended()
        except BaseException:
            if self.run.finish_reason is None:
                await self._hold()
            raise
        return self

    @command
    async def stop(self) -> None:
        """End the run where it is; harmless when it has ended, or the view has gone on to another."""
        if self.is_finished:
            return
        try:
            await self._ask(self._client.stop)
        except LivelensError as error:
            if error.code != "left":
                raise

    def _is_all_given(self, n_given: int) -> bool:
        return self.is_finished and n_given >= len(self.run.steps)

    async def _next(self, n_given: int) -> int:
        """Make tokens until there is a position more than `n_given`, or the end; how many positions there are."""
        run = self.run
        while run.finish_reason is None and n_read(run) <= n_given:
            if len(run.tokens) > max(n_given + 1, run.n_prompt_tokens):  # it was made, and its arrays are on their way
                await run.until(lambda run: n_read(run) > n_given or run.finish_reason is not None)
            else:
                await self._one_token()
        if run.finish_reason is not None:
            await self._ended()
        return n_read(run)

    async def _one_token(self) -> None:
        n_before = len(self.run.tokens)
        await self._ask(self._client.step_once)
        await self.run.until(lambda run: len(run.tokens) > n_before or run.finish_reason is not None)

    async def _ask(self, order: Callable[[ClientRun], Coroutine[None, None, RunState]]) -> None:
        try:
            await order(self.run)
        except LivelensError as error:
            if error.code == "not_watching":
                message = "this view went on to another run: view.generation is the newest"
                raise LivelensError("left", message) from error
            if error.code != "run_ended":  # it ended in that very moment; why, is about to be told
                raise

    async def _hold(self) -> None:
        """Pause; whoever was interrupted has a run that stands still and can go on."""
        try:
            await self._ask(self._client.pause)
        except LivelensError as error:
            if error.code not in ("left", "connection_lost"):  # then nobody here drives it any more
                raise

    async def _ended(self) -> None:
        """Wait for everything of the run; raises LivelensError when it was the engine that failed."""
        if await self.run.finished() == "engine_fault":
            raise LivelensError("engine_fault", self.run.finish_message)


def _reported_end(run: ClientRun, line: ProgressLine) -> bool:
    line(len(run.tokens) - run.n_prompt_tokens, run.sampling.max_new_tokens)
    return run.finish_reason is not None


def n_read(run: ClientRun) -> int:
    """Positions from the first on of which everything is here."""
    count = 0
    while count in run.steps and not run.steps[count].info.detail_dropped:
        count += 1
    return count
