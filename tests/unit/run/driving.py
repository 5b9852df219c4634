"""Drives one Run without threads, and says what a run should have given by forwarding it by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from livelens.model.engine import Engine, StepArrays
from livelens.model.fake import FakeEngine
from livelens.model.interventions import masks_from
from livelens.protocol.messages import (
    CHANNELS,
    Component,
    InterventionSegment,
    InterventionSpec,
    Sampling,
    Step,
    TwinMode,
)
from livelens.run.jobs import InterveneJob, Report, StartJob, Tag
from livelens.run.opening import opening_of
from livelens.run.run import Run

ALL = frozenset(CHANNELS)
TAG = Tag("viewer", 1)
PROMPT = "When Mary and John went to the store, John gave a drink to"


def small_engine(n_ctx: int = 128) -> FakeEngine:
    return FakeEngine(n_layers=3, n_heads=2, d_mlp=24, n_ctx=n_ctx)


def zero(*components: tuple[str, int, int], name: str = "a") -> InterventionSpec:
    return InterventionSpec(
        intervention_id=name,
        operation="zero",
        components=[Component(kind=kind, layer=layer, index=index) for kind, layer, index in components],  # type: ignore[arg-type]
    )


class Driven:
    """A run and everything it reported."""

    def __init__(
        self,
        engine: Engine,
        *,
        prompt: str = PROMPT,
        sampling: Sampling | None = None,
        start_paused: bool = False,
        log: Sequence[InterventionSegment] = (),
        channels: frozenset[str] = ALL,
        target: str | None = None,
        distractor: str | None = None,
        twin: TwinMode = "off",
    ) -> None:
        self.reports: list[Report] = []
        self.steps: list[tuple[Step, StepArrays]] = []
        job = StartJob(
            run_id="run",
            tag=TAG,
            prompt=prompt,
            apply_chat_template=False,
            sampling=sampling or Sampling(max_new_tokens=16),
            start_paused=start_paused,
            intervention_log=list(log),
            target_token=target,
            distractor_token=distractor,
            channels=channels,  # type: ignore[arg-type]
            twin=twin,
        )
        self.run = Run(
            engine,
            opening_of(engine, job),
            emit=self.reports.append,
            emit_step=lambda finish: self.steps.append(finish()),
        )

    def intervene(
        self,
        specs: Sequence[InterventionSpec],
        *,
        mode: str = "from_now",
        recompute_from: int = 0,
        restart: bool = False,
    ) -> None:
        self.run.intervene(
            InterveneJob(
                run_id="run",
                tag=TAG,
                interventions=list(specs),
                mode=mode,  # type: ignore[arg-type]
                recompute_from=recompute_from,
                restart=restart,
            )
        )

    def go(self, n_tokens: int | None = None) -> Driven:
        """Advance until it wants nothing, or until so many tokens were generated."""
        while self.run.wants_forward and (n_tokens is None or self.n_generated < n_tokens):
            self.run.advance()
        return self

    def read_all(self) -> Driven:
        while self.run.reporter.has_unread:
            self.run.reporter.tell_one()
        while self.run.has_unread_lens:
            self.run.reporter.tell_one_lens()
        return self

    @property
    def n_generated(self) -> int:
        return len(self.run.tokens) - len(self.prompt_ids)

    @property
    def prompt_ids(self) -> list[int]:
        return [token.token_id for token in self.reports[0].tokens]  # type: ignore[union-attr]

    @property
    def latest(self) -> dict[int, StepArrays]:
        return {step.pos: exact for step, exact in self.steps}


def by_hand(
    engine: FakeEngine, token_ids: Sequence[int], segments: Sequence[tuple[int, Sequence[InterventionSpec]]]
) -> list[np.ndarray]:
    """Logits after each position when every position is forwarded alone under the set that holds there."""
    sequence = engine.open_sequence()
    logits = []
    for pos, token_id in enumerate(token_ids):
        specs = [specs for from_pos, specs in segments if from_pos <= pos][-1]
        captured = sequence.forward([token_id], masks=masks_from(specs, engine.info), channels=frozenset())
        logits.append(captured.logits)
    return logits
