"""A run as the Python client holds it: text, tokens, and the steps as numpy arrays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Final, TypeVar

import msgspec

from livelens.client.errors import LivelensError
from livelens.client.step_data import Arrays, StepData
from livelens.protocol.messages import (
    AppliedInterventions,
    Event,
    FinishReason,
    InterventionsApplied,
    RunFinished,
    RunJoined,
    RunRewound,
    RunSnapshot,
    RunState,
    RunStateChanged,
    Step,
    TokenInfo,
    TwinChanged,
    TwinMode,
)
from livelens.protocol.tensors import TensorError, reconstruct
from livelens.protocol.text import enter_token

_T = TypeVar("_T")
_HELD_STEPS: Final = 8


class ClientRun:
    """A run being watched: iterate it for its steps as they come, until it has ended.

    Every position comes once for each time it was computed: prompt positions after the first generated
    one, joined runs newest first. `steps` holds all of them by position.
    """

    def __init__(self, snapshot: RunSnapshot) -> None:
        self.run_id = snapshot.run_id
        self.prompt = snapshot.prompt
        self.sampling = snapshot.sampling
        self.n_prompt_tokens = snapshot.n_prompt_tokens
        self.notice = snapshot.notice
        self.target_id = snapshot.target_id
        self.distractor_id = snapshot.distractor_id
        self.branch = snapshot.branch
        self.twin: TwinMode = "off"
        self.twin_from_pos: int | None = None  # the first position that run and twin are both carried from
        self.steps: dict[int, StepData] = {}
        self.holes: list[int] = []  # positions whose tensors this client was too slow for; the client asks for them
        self.finish_message = ""
        self._queue: asyncio.Queue[StepData | LivelensError | None] = asyncio.Queue()
        self._changed = asyncio.Event()
        self._error: LivelensError | None = None
        self._held: dict[int, Arrays] = {}  # what differences are taken from, by seq
        self._n_expected = snapshot.n_steps
        self._has_ended = False
        self.tokens: list[TokenInfo] = []
        self.intervention_log: list[AppliedInterventions] = []
        self.text = ""
        self.state: RunState = "prefilling"
        self.finish_reason: FinishReason | None = None
        self._reset(snapshot)

    @property
    def token_ids(self) -> list[int]:
        """Prompt and generated tokens."""
        return [token.token_id for token in self.tokens]

    @property
    def is_complete(self) -> bool:
        """No step is missing up to the newest one here, and none lacks its tensors."""
        if self.finish_reason == "engine_fault":  # what was not read out of the engine by then never comes
            return True
        dropped = any(step.info.detail_dropped for step in self.steps.values())
        has_gap = bool(self.steps) and max(self.steps) + 1 != len(self.steps)
        return len(self.steps) >= self._n_expected and not has_gap and not dropped

    @property
    def last_complete_seq(self) -> int:
        """The seq up to which nothing is missing; -1 when something is."""
        return max((step.info.seq for step in self.steps.values()), default=-1) if self.is_complete else -1

    def __aiter__(self) -> AsyncIterator[StepData]:
        return self._iterate()

    async def _iterate(self) -> AsyncIterator[StepData]:
        while True:
            item = await self._queue.get()
            if isinstance(item, StepData):
                yield item
                continue
            self._queue.put_nowait(item)  # whoever iterates again ends in the same way
            if isinstance(item, LivelensError):
                raise item
            return

    async def finished(self) -> FinishReason:
        """Wait for the end, whether or not anyone iterates; raises LivelensError when the connection is lost."""
        await self.until(lambda run: run.finish_reason is not None and run.is_complete)
        assert self.finish_reason is not None
        return self.finish_reason

    async def until(self, condition: Callable[[ClientRun], bool]) -> None:
        """Wait until `condition` of this run is true."""
        while not condition(self):
            if self._error is not None:
                raise self._error
            self._changed.clear()
            await self._changed.wait()

    # ------------------------------------------------------------------ what the client hands in

    def take(self, event: Event) -> None:
        """Apply an event; those of other runs change nothing."""
        match event:
            case RunJoined(run=snapshot) if snapshot.run_id == self.run_id:
                self._reset(snapshot)
                self._n_expected = snapshot.n_steps
                self._held.clear()
            case Step(run_id=self.run_id):
                self._step(event)
            case RunStateChanged(run_id=self.run_id):
                self.state = event.state
            case InterventionsApplied(run_id=self.run_id):
                self.intervention_log.append(event.applied)
            case TwinChanged(run_id=self.run_id):
                self.twin, self.twin_from_pos = event.mode, event.from_pos
            case RunRewound(run_id=self.run_id):
                self._rewound(event)
            case RunFinished(run_id=self.run_id):
                self.finish_reason, self.finish_message = event.reason, event.message
                self.state, self.text = "finished", event.text
            case _:
                return
        self._changed.set()
        if self.finish_reason is not None and self.is_complete and not self._has_ended:
            self._has_ended = True
            self._queue.put_nowait(None)

    def fail(self, error: LivelensError) -> None:
        """The run cannot be followed any longer."""
        self._error = error
        self._queue.put_nowait(error)
        self._changed.set()

    def leave(self) -> None:
        """Another run is watched from now on: what is waited for in this one would never come."""
        self._error = LivelensError("left", "another run is watched now: join this one again to go on with it")
        self._queue.put_nowait(None)
        self._changed.set()

    def _reset(self, snapshot: RunSnapshot) -> None:
        self.tokens = list(snapshot.tokens)
        self.intervention_log = list(snapshot.intervention_log)
        self.text = snapshot.text
        self.state = snapshot.state
        self.twin, self.twin_from_pos = snapshot.twin, snapshot.twin_from_pos
        self.finish_reason = snapshot.finish_reason

    def _rewound(self, event: RunRewound) -> None:
        self.steps = {pos: step for pos, step in self.steps.items() if pos < event.from_pos}
        self._n_expected = 0  # what was announced is void; what is computed again comes as it is made
        del self.tokens[event.n_tokens :]
        self.text = event.text

    def _step(self, step: Step) -> None:
        arrays = self._arrays(step)
        if arrays:
            self._hold(step.seq, arrays)
        before = self.steps.get(step.pos)
        if before is not None and before.info.revision == step.revision:
            is_new = before.info.detail_dropped and not step.detail_dropped
            step = msgspec.structs.replace(
                step,
                seq=max(before.info.seq, step.seq),
                lens_texts=_or(step.lens_texts, before.info.lens_texts),
                direct_target_id=_or(step.direct_target_id, before.info.direct_target_id),
                direct_distractor_id=_or(step.direct_distractor_id, before.info.direct_distractor_id),
                twin=_or(step.twin, before.info.twin),
            )
            data = StepData(step, {**before.tensors, **arrays})
        else:
            is_new = not step.detail_dropped
            data = StepData(step, arrays)
        self.steps[step.pos] = data
        self.text += enter_token(self.tokens, step)
        if step.detail_dropped:
            self.holes.append(step.pos)
        elif is_new:
            self._queue.put_nowait(data)

    def _hold(self, seq: int, arrays: Arrays) -> None:
        """Positions sent again come between, some of them under a newer seq than the live step before the next."""
        self._held[seq] = {**self._held.get(seq, {}), **arrays}
        if len(self._held) > _HELD_STEPS:
            del self._held[min(self._held)]

    def _arrays(self, step: Step) -> Arrays:
        if step.base_seq >= 0 and step.base_seq not in self._held:
            raise TensorError(f"step {step.seq} differs from step {step.base_seq}, which is not held")
        against = self._held[step.base_seq] if step.base_seq >= 0 else {}
        sent = {name: getattr(step.tensors, name) for name in step.tensors.__struct_fields__}
        return {name: reconstruct(tensor, against.get(name)) for name, tensor in sent.items() if tensor is not None}


def _or(newer: _T | None, before: _T | None) -> _T | None:
    """What a step says again, or what it said before."""
    return before if newer is None else newer
