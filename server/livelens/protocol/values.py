"""The values that commands and events share: components, interventions, the model, a run's tokens.

What a viewer may send is a `WireInput` and refuses unknown fields; the rest is only ever sent by the
server. `n_layers`, `d_mlp`, ... are TransformerLens's nouns.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from livelens.protocol.interventions import InterventionSpec
from livelens.protocol.vocabulary import (
    AnalysisKind,
    ApplyMode,
    Channel,
    ComponentKind,
    Count,
    FinishReason,
    Index,
    Operation,
    RunId,
    RunState,
    TwinMode,
    WireInput,
    WireValue,
    require_finite,
)


class Sampling(WireInput, frozen=True):
    """How the next token is chosen. Same prompt, seed, settings and intervention log: same tokens."""

    temperature: Annotated[float, Meta(ge=0, le=100, description="0 is greedy")] = 0.0
    top_k: Annotated[int, Meta(ge=0, le=1_000_000, description="0 is off")] = 0
    top_p: Annotated[float, Meta(gt=0, le=1, description="1 is off")] = 1.0
    seed: Annotated[int, Meta(ge=0, le=2**53 - 1)] = 0
    max_new_tokens: Annotated[int, Meta(ge=1, le=1_000_000)] = 64
    stop_at_eos: bool = True

    def __post_init__(self) -> None:
        require_finite("temperature", self.temperature)
        require_finite("top_p", self.top_p)


class MissingCapability(WireValue, frozen=True):
    """A channel this model or engine cannot give, and why; the page greys it out."""

    channel: Channel
    reason: str


class MissingAnalysis(WireValue, frozen=True):
    """A question that this engine does not answer, and why; the page greys it out."""

    analysis: AnalysisKind
    reason: str


class Capabilities(WireValue, frozen=True):
    """What the engine can capture and change: declared, never guessed."""

    channels: list[Channel]
    operations: list[Operation]
    component_kinds: list[ComponentKind]
    missing: list[MissingCapability] = field(default_factory=list)
    has_chat_template: bool = False
    analyses: Annotated[
        list[AnalysisKind], Meta(description="questions the engine answers: their tags without `request_`")
    ] = field(default_factory=list)
    missing_analyses: list[MissingAnalysis] = field(default_factory=list)


class ModelInfo(WireValue, frozen=True):
    """Shape and identity of the model being watched, in TransformerLens's nouns."""

    model_name: str
    architecture: str
    n_layers: Count
    n_heads: Count
    n_key_value_heads: Count
    d_model: Count
    d_head: Count
    d_mlp: Count
    d_vocab: Count
    n_ctx: Annotated[Count, Meta(description="longest sequence the model takes, tokens")]
    dtype: str
    weights_sha256: str
    capabilities: Capabilities


class Limits(WireValue, frozen=True):
    """The server's bounds, so that a viewer can refuse before it sends."""

    max_command_bytes: int
    max_prompt_chars: int
    max_interventions: int
    grace_secs: Annotated[float, Meta(description="a run without viewers ends after this long")]


class TopToken(WireValue, frozen=True):
    """One candidate for the next token."""

    token_id: Index
    text: str
    prob: float


class TokenInfo(WireValue, frozen=True):
    """One token of a run's text."""

    token_id: Index
    text: Annotated[str, Meta(description="the token alone, for a label; may be part of a character")]
    logprob: Annotated[
        float | None,
        Meta(description="natural log-probability when it was chosen; none for prompt tokens not yet scored"),
    ] = None


class AppliedInterventions(WireValue, frozen=True):
    """One entry of a run's intervention log."""

    revision: Annotated[Count, Meta(description="counts the sets a run has had; 0 is the set it started with")]
    from_pos: Annotated[Index, Meta(description="first position whose forward pass is under this set")]
    mode: ApplyMode
    interventions: list[InterventionSpec]
    author: Annotated[str, Meta(description="viewer_id of who set it")]


class BranchPoint(WireValue, frozen=True):
    """Where a run branched off another one."""

    run_id: Annotated[RunId, Meta(description="the run that it branched off")]
    from_pos: Annotated[Index, Meta(description="first token that may differ from that run's")]
    n_shared: Annotated[Count, Meta(description="positions that were taken over, not computed again")]
    token_id: Annotated[Index | None, Meta(description="token put at from_pos; none: chosen by the model")] = None


class RunSnapshot(WireValue, frozen=True, kw_only=True):
    """A run as it stands: enough to draw its text; its steps follow, newest first for a joiner."""

    run_id: RunId
    prompt: str
    apply_chat_template: bool
    sampling: Sampling
    n_prompt_tokens: Count
    tokens: Annotated[list[TokenInfo], Meta(description="prompt and generated tokens, by position")]
    text: Annotated[str, Meta(description="the generated text so far")]
    state: RunState
    finish_reason: FinishReason | None = None
    revision: Count
    intervention_log: list[AppliedInterventions]
    last_seq: Annotated[int, Meta(ge=-1, description="newest seq when the snapshot was taken; -1: none")]
    n_steps: Annotated[Count, Meta(description="positions with a captured step")]
    author: str
    target_id: Index | None = None
    distractor_id: Index | None = None
    notice: Annotated[str | None, Meta(description="something the person should know, e.g. a split target")] = None
    branch: Annotated[BranchPoint | None, Meta(description="the run it branched off; none: it branched off none")] = (
        None
    )
    twin: TwinMode = "off"
    twin_from_pos: Annotated[
        Index | None, Meta(description="first position that run and twin are both carried from; none: no twin")
    ] = None
