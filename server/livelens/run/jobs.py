"""What the session asks of the model thread (jobs) and what comes back (reports): data, no behaviour."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from livelens.model.engine import StepArrays
from livelens.model.operations import WeightEdit
from livelens.protocol.messages import (
    Answer,
    AppliedInterventions,
    ApplyMode,
    BranchPoint,
    Channel,
    ErrorReport,
    FinishReason,
    InterventionSegment,
    InterventionSpec,
    Question,
    RunFinished,
    RunRewound,
    RunState,
    Sampling,
    Step,
    TokenInfo,
    TwinMode,
)

Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class Tag:
    """Whose command this answers."""

    viewer_id: str
    request_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartJob:
    """Begin a run. `intervention_log` ascends by from_pos and fits the model; the session has checked."""

    run_id: str
    tag: Tag
    prompt: str
    apply_chat_template: bool
    sampling: Sampling
    start_paused: bool
    intervention_log: list[InterventionSegment]
    target_token: str | None
    distractor_token: str | None
    channels: frozenset[Channel]
    twin: TwinMode = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkJob:
    """Begin a run that branches off `parent_id`. `interventions` fit the model; the session has checked."""

    run_id: str
    tag: Tag
    parent_id: str
    from_pos: int
    token_text: str | None
    sampling: Sampling | None
    interventions: list[InterventionSpec] | None
    start_paused: bool
    channels: frozenset[Channel]
    twin: TwinMode = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlJob:
    """Pause, resume or step a run at its next token boundary."""

    run_id: str
    tag: Tag
    action: Literal["pause", "resume", "step_once"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StopJob:
    """End a run. No tag: nobody is left to answer."""

    run_id: str
    reason: FinishReason
    message: str
    tag: Tag | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InterveneJob:
    """Replace a run's intervention set at its next token boundary."""

    run_id: str
    tag: Tag
    interventions: list[InterventionSpec]
    mode: ApplyMode
    recompute_from: int
    restart: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinJob:
    """Carry a run's clean twin from its next token boundary on, or no longer."""

    run_id: str
    tag: Tag
    mode: TwinMode


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelsJob:
    """Capture these channels from the next forward call on."""

    run_id: str
    channels: frozenset[Channel]


@dataclass(frozen=True, slots=True, kw_only=True)
class LensJob:
    """Compute the logit lens of these prompt positions before the idle ones."""

    run_id: str
    positions: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgetJob:
    """Let go of everything a finished run still holds in the model."""

    run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PastRun:
    """A run as it was when a question named it. arrays: of those positions that have any, by position."""

    run_id: str
    token_ids: tuple[int, ...]
    arrays: tuple[tuple[int, Arrays], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisJob:
    """Answer a question between tokens. One of the same kind that the viewer asked before is given up.

    past_runs: those of the runs it names besides its own that are still known.
    """

    run_id: str
    tag: Tag
    question: Question
    past_runs: tuple[PastRun, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelJob:
    """Give up a viewer's question, or where `request_id` is none, all of its questions."""

    viewer_id: str
    request_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionJob:
    """Hold a direction [d_model] for interventions that name it; vector none: let go of it."""

    direction_id: str
    vector: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightEditJob:
    """Hold a rank-1 edit for interventions that name it; edit none: let go of it."""

    edit_id: str
    edit: WeightEdit | None


RunJob = ControlJob | StopJob | InterveneJob | TwinJob | ChannelsJob | LensJob | ForgetJob | AnalysisJob
OpeningJob = StartJob | ForkJob
Job = OpeningJob | CancelJob | RunJob | DirectionJob | WeightEditJob


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReady:
    """A start_run or fork_run was taken: its prompt as tokens, after a fork what it keeps too, its log so far."""

    run_id: str
    tag: Tag
    prompt: str
    apply_chat_template: bool
    sampling: Sampling
    tokens: list[TokenInfo]
    n_prompt_tokens: int
    text: str
    target_id: int | None
    distractor_id: int | None
    notice: str | None
    intervention_log: list[AppliedInterventions]
    state: RunState
    channels: frozenset[Channel]
    branch: BranchPoint | None = None
    twin: TwinMode = "off"
    twin_from_pos: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """A command was not taken; the run, if there is one, goes on as before."""

    run_id: str
    tag: Tag
    code: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StepMade:
    """One position's step: `step` without seq and tensors, quantised arrays, and the exact ones."""

    step: Step
    arrays: Arrays
    exact: StepArrays


@dataclass(frozen=True, slots=True, kw_only=True)
class StateChanged:
    """The run's state now."""

    run_id: str
    state: RunState
    tag: Tag | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """An intervention set holds from `applied.from_pos` on."""

    run_id: str
    applied: AppliedInterventions
    tag: Tag


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinSet:
    """How the run's clean twin is carried now, and from which position on."""

    run_id: str
    mode: TwinMode
    from_pos: int | None
    tag: Tag | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """A question's progress, or its answer or refusal, the last that is said of it; for who asked alone."""

    tag: Tag
    answer: Answer | ErrorReport


# A rewind and an end answer no command, so their events are reports as they stand.
Report = RunReady | Refused | StepMade | StateChanged | Applied | TwinSet | Answered | RunRewound | RunFinished
