"""What the server says: every event, a noun or in the past tense; answers echo their `request_id`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from livelens.protocol.directions import DirectionInfo
from livelens.protocol.interventions import Component
from livelens.protocol.rank_one_edits import RankOneEditInfo
from livelens.protocol.step_tensors import StepTensors, Tensor
from livelens.protocol.twin import TwinStep
from livelens.protocol.values import AppliedInterventions, Limits, ModelInfo, RunSnapshot, TopToken
from livelens.protocol.vocabulary import Count, FinishReason, Index, RequestId, RunId, RunState, TwinMode, WireValue


class _Event(WireValue, frozen=True, tag_field="type", tag=True):
    pass


class AnswerEvent(_Event, frozen=True):
    """Base of the answers to questions about one run."""

    request_id: RequestId
    run_id: RunId


class Hello(_Event, frozen=True, tag="hello"):
    """First event on every connection."""

    protocol_version: str
    server_version: str
    viewer_id: Annotated[str, Meta(description="names this viewer in `author` fields")]
    model_info: ModelInfo
    limits: Limits


class RunStarted(_Event, frozen=True, tag="run_started"):
    """Answer to `start_run`."""

    request_id: RequestId
    run: RunSnapshot


class RunJoined(_Event, frozen=True, tag="run_joined"):
    """Answer to `join_run`; the missing steps follow, newest position first, then oldest first."""

    request_id: RequestId
    run: RunSnapshot


class Step(_Event, frozen=True, tag="step", kw_only=True):
    """Everything new at one position. May come again for a `pos` with further tensors, which merge."""

    run_id: RunId
    seq: Annotated[Index, Meta(description="counts the steps sent for this run, in order of emission")]
    base_seq: Annotated[
        int, Meta(ge=-1, description="the step whose tensors sparse tensors differ from; -1: keyframe, all whole")
    ] = -1
    pos: Annotated[Index, Meta(description="position of the token whose activations these are")]
    token_id: Annotated[Index, Meta(description="the token at pos")]
    text: Annotated[str, Meta(description="that token alone, for a label")]
    chosen_id: Annotated[
        Index | None, Meta(description="the token after pos: the next prompt token, or the one chosen here")
    ] = None
    chosen_text: str | None = None
    text_delta: Annotated[
        str, Meta(description="what the chosen token adds to the generated text; empty within a character")
    ] = ""
    generated: Annotated[bool, Meta(description="the token after pos was chosen by the model at this step")] = False
    top_tokens: Annotated[list[TopToken], Meta(description="likeliest next tokens, best first")] = field(
        default_factory=list
    )
    logprob: Annotated[float | None, Meta(description="natural log-probability of chosen_id")] = None
    entropy: Annotated[float | None, Meta(description="entropy of the prediction at pos, nats")] = None
    revision: Annotated[Count, Meta(description="intervention set under which this position was computed")]
    server_ns: Annotated[int, Meta(description="server's monotonic clock when the step was made, nanoseconds")]
    tensors: StepTensors = field(default_factory=StepTensors)
    lens_texts: Annotated[list[str] | None, Meta(description="text of each lens_token_id")] = None
    direct_target_id: Index | None = None
    direct_distractor_id: Annotated[Index | None, Meta(description="none: the mean of all logits was subtracted")] = (
        None
    )
    twin: Annotated[
        TwinStep | None, Meta(description="the clean row at this position; none: no twin is carried there")
    ] = None
    detail_dropped: Annotated[
        bool, Meta(description="this viewer was too slow for the tensors; request_positions brings them")
    ] = False


class RunStateChanged(_Event, frozen=True, tag="run_state_changed"):
    """The run's state now; answers pause, resume, step_once and stop, and is told to every viewer."""

    run_id: RunId
    state: RunState
    request_id: RequestId | None = None
    author: str | None = None


class InterventionsApplied(_Event, frozen=True, tag="interventions_applied"):
    """The set that holds from `applied.from_pos` on; answers `set_interventions`, told to every viewer."""

    run_id: RunId
    applied: AppliedInterventions
    request_id: RequestId | None = None


class TwinChanged(_Event, frozen=True, tag="twin_changed"):
    """The clean twin's mode now; answers `set_twin`, told to every viewer. Also where a recompute moved `from_pos`."""

    run_id: RunId
    mode: TwinMode
    from_pos: Annotated[Index | None, Meta(description="first position that run and twin are both carried from")] = None
    request_id: RequestId | None = None
    author: str | None = None


class RunRewound(_Event, frozen=True, tag="run_rewound"):
    """Recompute: captured steps from `from_pos` on are void; tokens from `n_tokens` on are dropped."""

    run_id: RunId
    from_pos: Index
    n_tokens: Count
    text: Annotated[str, Meta(description="the generated text that is kept")]
    revision: Count


class RunFinished(_Event, frozen=True, tag="run_finished"):
    """The run has ended; its text and steps stay readable."""

    run_id: RunId
    reason: FinishReason
    message: str
    n_generated: Count
    text: str


class ValuesReady(_Event, frozen=True, tag="values_ready"):
    """Answer to `request_values`."""

    request_id: RequestId
    run_id: RunId
    components: list[Component]
    positions: list[Index]
    values: Annotated[
        Tensor,
        Meta(description="float32 [n_components, n_positions]; NaN where a position was not captured"),
    ]
    exact: Annotated[bool, Meta(description="false: some come from the quantised record, not from float32")]


class AttentionReady(_Event, frozen=True, tag="attention_ready"):
    """Answer to `request_attention`."""

    request_id: RequestId
    run_id: RunId
    layer: Index
    head_index: Index
    query_pos: Index
    row: Annotated[Tensor, Meta(description="float32 [query_pos+1]; sums to 1")]
    exact: bool


class DirectionStored(_Event, frozen=True, tag="direction_stored"):
    """Answer to `put_direction`."""

    request_id: RequestId
    direction: DirectionInfo


class RankOneEditStored(_Event, frozen=True, tag="rank_one_edit_stored"):
    """Answer to `put_rank_one_edit`."""

    request_id: RequestId
    edit: RankOneEditInfo


class SelectionChanged(_Event, frozen=True, tag="selection_changed"):
    """What is looked at now; told to every viewer of the group that shares it, answers `set_selection`."""

    component: Component | None
    pos: Annotated[Index | None, Meta(description="of the run that is shared; none: the newest")]
    author: Annotated[str, Meta(description="viewer_id of who selected it")]
    request_id: RequestId | None = None


class RunShared(_Event, frozen=True, tag="run_shared"):
    """A viewer of the group went to this run: `join_run` goes along."""

    run_id: RunId
    author: str


class Acknowledged(_Event, frozen=True, tag="acknowledged"):
    """The command was taken and needs no other answer."""

    request_id: RequestId


class Pong(_Event, frozen=True, tag="pong"):
    """Answer to `ping`."""

    request_id: RequestId
    server_ns: int


class ErrorReport(_Event, frozen=True, tag="error_report"):
    """A refusal or a fault: what is wrong, which limit, and what to do. Nothing else is lost."""

    code: Annotated[str, Meta(description="stable, snake_case")]
    message: str
    request_id: RequestId | None = None
    run_id: RunId | None = None


BasicEvent = (
    Hello
    | RunStarted
    | RunJoined
    | Step
    | RunStateChanged
    | InterventionsApplied
    | TwinChanged
    | RunRewound
    | RunFinished
    | ValuesReady
    | AttentionReady
    | DirectionStored
    | RankOneEditStored
    | SelectionChanged
    | RunShared
    | Acknowledged
    | Pong
    | ErrorReport
)
