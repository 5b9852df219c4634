"""Questions about one head or neuron, and their answers: what it does in a run, what its weights say of it."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, field

from livelens.protocol.attribution import EdgePart
from livelens.protocol.commands import RunCommand
from livelens.protocol.events import AnswerEvent
from livelens.protocol.interventions import Component
from livelens.protocol.step_tensors import Tensor
from livelens.protocol.values import TopToken
from livelens.protocol.vocabulary import Count, Index, RunId, WireValue

MAX_PAST_RUNS = 64  # as many as a server keeps of those that nobody watches


class RequestHeadProfile(RunCommand, frozen=True, tag="request_head_profile"):
    """What one head does: where it looks in this run, what its weights read and write."""

    layer: Index
    head_index: Index
    query_pos: Annotated[Index | None, Meta(description="whose reading is put into words; none: the last")] = None
    key_pos: Annotated[
        Index | None, Meta(description="a token to be among `reads` however little the query looks at it")
    ] = None


class RequestHeadScores(RunCommand, frozen=True, tag="request_head_scores"):
    """Every head's pattern scores, measured once per model on repeated random tokens: the head finder."""


class RequestNeuronProfile(RunCommand, frozen=True, tag="request_neuron_profile"):
    """What one neuron does: what drives it, what it promotes, where in this run it is loud."""

    layer: Index
    neuron_index: Index
    past_run_ids: Annotated[
        list[RunId],
        Meta(max_length=MAX_PAST_RUNS, description="further runs to look through, each id a key; unknown: skipped"),
    ] = field(default_factory=list)


class HeadScore(WireValue, frozen=True):
    """One head's measured habits, each 0 to 1, and what its weights copy."""

    layer: Index
    head_index: Index
    previous_token: float
    duplicate_token: float
    induction: float
    copying: Annotated[float, Meta(description="fraction of positive eigenvalue mass of the OV circuit, -1 to 1")]


class HeadScoresReady(AnswerEvent, frozen=True, tag="head_scores_ready"):
    """Answer to `request_head_scores`."""

    scores: list[HeadScore]
    n_random_tokens: Count


class Feeder(WireValue, frozen=True):
    """A head by how strongly its output weights compose with another's input weights."""

    component: Component
    part: EdgePart
    score: float


class ReadToken(WireValue, frozen=True):
    """A token that a head reads at a query, and what its OV circuit writes for it."""

    key_pos: Index
    text: str
    weight: float
    promoted: list[TopToken]
    suppressed: list[TopToken]


class HeadProfileReady(AnswerEvent, frozen=True, tag="head_profile_ready"):
    """Answer to `request_head_profile`. In TopToken of `promoted`, `prob` is the logit written."""

    layer: Index
    head_index: Index
    query_pos: Index
    pattern: Annotated[Tensor, Meta(description="float16 [n, n] of this run, query by key; 0 above the diagonal")]
    entropy: Annotated[Tensor, Meta(description="float32 [n], nats: of each query's row")]
    score: HeadScore
    reads: list[ReadToken]
    feeders: Annotated[list[Feeder], Meta(description="strongest weight composition into Q, K and V")]


class NeuronContext(WireValue, frozen=True):
    """A token at which a neuron was loud, with the text around it."""

    pos: Index
    value: float
    before: str
    text: str
    run_id: Annotated[RunId | None, Meta(description="whose token it is; none: the run that was asked about")] = None


class NeuronProfileReady(AnswerEvent, frozen=True, tag="neuron_profile_ready"):
    """Answer to `request_neuron_profile`. In TopToken lists `prob` is the logit or weight, not a probability."""

    layer: Index
    neuron_index: Index
    promoted: Annotated[list[TopToken], Meta(description="W_out @ W_U, through the final norm's gain")]
    suppressed: list[TopToken]
    driven_by: Annotated[list[TopToken], Meta(description="tokens whose embedding drives it most, up (and gate)")]
    contexts: Annotated[list[NeuronContext], Meta(description="loudest tokens of this run")]
    alike_in: Annotated[list[Feeder], Meta(description="neurons that read most alike, cosine; `part` is input")]
    alike_out: Annotated[list[Feeder], Meta(description="neurons that write most alike, cosine; `part` is value")]
    histogram: Annotated[Tensor, Meta(description="float32 [n_bins]: how many tokens of this run, by value")]
    histogram_edges: Annotated[Tensor, Meta(description="float32 [n_bins+1]")]
    past_contexts: Annotated[
        list[NeuronContext], Meta(description="loudest tokens of `past_run_ids`, each text once; quantised to int8")
    ] = field(default_factory=list)
    n_past_runs: Annotated[Count, Meta(description="of `past_run_ids`, those that the server still has")] = 0
    n_past_tokens: Annotated[Count, Meta(description="of those runs, tokens with neurons on record")] = 0
