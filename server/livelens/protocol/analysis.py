"""Questions about a run that was computed, and their answers: why this token, and what a part does.

A node is a component at one token, `L12H3@37`, `L5.mlp@12`, `L7N1404@12`, `embed@3`, or the logit
metric, `logit@14`: the metric of the prediction after position 14. A question is answered between
tokens, piece by piece, with `analysis_progress` in between; `cancel_analysis` gives it up.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from livelens.protocol.commands import RunCommand
from livelens.protocol.comparison import ComparisonReady, RequestComparison
from livelens.protocol.directions import DirectionInfo, DirectionRecipe
from livelens.protocol.events import AnswerEvent
from livelens.protocol.interventions import Component
from livelens.protocol.lenses import (
    AttentionEntropyReady,
    HeadLensReady,
    LensReady,
    RequestAttentionEntropy,
    RequestHeadLens,
    RequestLens,
    RequestStreamPca,
    StreamPcaReady,
)
from livelens.protocol.step_tensors import Tensor
from livelens.protocol.values import TopToken
from livelens.protocol.vocabulary import (
    MAX_PROMPT_CHARS,
    AnalysisKind,
    Count,
    Index,
    RunId,
    TokenText,
    WireInput,
    WireValue,
    require_finite,
)

MAX_EDGES = 512
MAX_MEASURED = 4096
MAX_PAST_RUNS = 64  # as many as a server keeps of those that nobody watches

NodeId = Annotated[str, Meta(min_length=1, max_length=40, pattern=r"^(L\d+(H\d+|N\d+|\.attn|\.mlp)|embed|logit)@\d+$")]
EdgePart = Literal["input", "value", "query", "key"]
RelevanceMethod = Literal["frozen", "gradient_x_input", "integrated_gradients"]
MeasuredScope = Literal["listed", "heads", "attn", "mlps", "neurons"]
AblationValue = Literal["zero", "mean"]


class MetricQuestion(WireInput, frozen=True):
    """What is explained: `logit(target) - logit(distractor)` of the prediction after `pos`."""

    pos: Annotated[Index, Meta(description="position whose prediction is explained")]
    target: Annotated[
        Index | TokenText | None, Meta(description="token id, or its text; none: the token that followed")
    ] = None
    distractor: Annotated[
        Index | TokenText | None, Meta(description="token id, or its text; none: the likeliest other token")
    ] = None
    against_mean: Annotated[bool, Meta(description="subtract the mean of all logits instead of a distractor")] = False


class Metric(WireValue, frozen=True):
    """The metric as it was understood, and its value, logits before any soft cap."""

    pos: Index
    target_id: Index
    target_text: str
    distractor_id: Annotated[Index | None, Meta(description="none: the mean of all logits")]
    distractor_text: str | None
    value: float
    notice: Annotated[str | None, Meta(description="e.g. a target of several tokens: its first was taken")] = None


class _Question(RunCommand, frozen=True):
    metric: MetricQuestion


class RequestAttribution(_Question, frozen=True, tag="request_attribution"):
    """Who fed a node (`incoming`), or whom it fed (`outgoing`), in the model linearised at this run."""

    node: NodeId
    direction: Literal["incoming", "outgoing"] = "incoming"
    key_pos: Annotated[
        Index | None, Meta(description="for a head's query and key edges: the key looked at; none: the strongest")
    ] = None
    n_edges: Annotated[int, Meta(ge=1, le=MAX_EDGES, description="strongest edges of each part to send")] = 40


class RequestPaths(_Question, frozen=True, tag="request_paths"):
    """The strongest paths from the input tokens to this logit."""

    n_nodes: Annotated[int, Meta(ge=2, le=MAX_EDGES)] = 60
    threshold: Annotated[float, Meta(ge=0, le=1, description="leave out edges below this fraction of the metric")] = (
        0.01
    )

    def __post_init__(self) -> None:
        require_finite("threshold", self.threshold)


class RequestOverview(_Question, frozen=True, tag="request_overview"):
    """Direct effects of every component on the metric, and the metric layer by layer."""

    n_neurons: Annotated[int, Meta(ge=0, le=MAX_EDGES)] = 64


class RequestRelevance(_Question, frozen=True, tag="request_relevance"):
    """How much each token of the text matters for the metric."""

    method: RelevanceMethod = "frozen"


class RequestEffects(_Question, frozen=True, tag="request_effects"):
    """Measured, not attributed: ablate components one at a time at the metric's position, run, compare."""

    scope: MeasuredScope = "listed"
    components: Annotated[list[Component], Meta(max_length=MAX_MEASURED, description="for `listed`")] = field(
        default_factory=list
    )
    ablation: Annotated[AblationValue, Meta(description="`mean`: over the positions before this one")] = "zero"
    everywhere: Annotated[bool, Meta(description="ablate at every position up to it, not only there")] = False
    n_neurons: Annotated[int, Meta(ge=1, le=MAX_MEASURED, description="for `neurons`: the strongest so many")] = 32


class RequestPatching(_Question, frozen=True, tag="request_patching"):
    """What of this run restores the metric when it is put into the run of another prompt, place by place."""

    corrupted_prompt: Annotated[
        str, Meta(min_length=1, max_length=MAX_PROMPT_CHARS, description="takes the prompt's place; as many tokens")
    ]
    apply_chat_template: Annotated[bool, Meta(description="as the run's prompt was")] = False


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


class RequestDirection(RunCommand, frozen=True, tag="request_direction"):
    """Make a direction of the residual stream; the server holds it from then on, for `direction_id`."""

    recipe: DirectionRecipe
    name: Annotated[str, Meta(max_length=120, description="empty: the server's own words")] = ""

    def __post_init__(self) -> None:
        if self.recipe.kind == "put":
            raise ValueError("a direction of kind put is sent with put_direction")


class Edge(WireValue, frozen=True):
    """One writer's contribution to one reader; signed, in logits of the metric (query and key: of the score)."""

    writer: NodeId
    reader: NodeId
    part: EdgePart
    weight: float


class AttributionPart(WireValue, frozen=True):
    """One way into a node (or out of it): its edges, strongest first, and what they leave out."""

    part: EdgePart
    value: Annotated[float, Meta(description="what all edges of this part, biases and error sum to")]
    edges: list[Edge]
    rest: Annotated[float, Meta(description="sum of the edges that were not sent")]
    n_rest: Count
    bias: float
    error: Annotated[float, Meta(description="value - edges - rest - bias: rounding, or a frozen part's remainder")]
    key_pos: Index | None = None
    neurons: Annotated[
        list[Edge], Meta(description="strongest neurons; each is a part of its MLP's edge, not one more")
    ] = field(default_factory=list)


class GraphNode(WireValue, frozen=True):
    """A node of a path graph."""

    node: NodeId
    relevance: Annotated[float, Meta(description="its whole contribution to the metric, logits")]
    label: str


class AnalysisProgress(AnswerEvent, frozen=True, tag="analysis_progress"):
    """A question is being worked on."""

    done: Count
    total: Count


class AttributionReady(AnswerEvent, frozen=True, tag="attribution_ready"):
    """Answer to `request_attribution`."""

    metric: Metric
    node: NodeId
    direction: Literal["incoming", "outgoing"]
    relevance: Annotated[float, Meta(description="the node's whole contribution to the metric, logits")]
    parts: list[AttributionPart]


class PathsReady(AnswerEvent, frozen=True, tag="paths_ready"):
    """Answer to `request_paths`."""

    metric: Metric
    nodes: list[GraphNode]
    edges: list[Edge]
    shown: Annotated[
        float,
        Meta(description="1 - |hidden| / (|tokens| + |biases| + |hidden|): the share of the flow that is drawn"),
    ]


class OverviewReady(AnswerEvent, frozen=True, tag="overview_ready"):
    """Answer to `request_overview`. Everything in logits of the metric; the direct terms sum to it."""

    metric: Metric
    layer_line: Annotated[Tensor, Meta(description="float32 [n_layers+1]: the stream's, before and after each layer")]
    direct_heads: Annotated[Tensor, Meta(description="float32 [n_layers, n_heads], at the metric's position")]
    direct_mlps: Annotated[Tensor, Meta(description="float32 [n_layers]")]
    direct_bias: Annotated[Tensor, Meta(description="float32 [n_layers]: what attention biases write")]
    relevance_heads: Annotated[
        Tensor, Meta(description="float32 [n_layers, n_heads]: through every path and token, frozen model")
    ]
    relevance_mlps: Annotated[Tensor, Meta(description="float32 [n_layers]")]
    embed: float
    final_bias: float
    neurons: Annotated[list[Component], Meta(description="strongest neurons' direct effects, strongest first")]
    neuron_values: Annotated[Tensor, Meta(description="float32 [n_neurons]")]
    shown: Annotated[float, Meta(description="sum of the direct terms over the metric: 1 when all is shown")]


class RelevanceReady(AnswerEvent, frozen=True, tag="relevance_ready"):
    """Answer to `request_relevance`: tokens and bias sum to total, which misses the metric by error."""

    metric: Metric
    method: RelevanceMethod
    tokens: Annotated[Tensor, Meta(description="float32 [pos+1], logits")]
    bias: float
    total: float
    error: Annotated[float, Meta(description="total - what the method promises to reach")]
    placed: Annotated[
        float,
        Meta(
            description="of integrated gradients, logits (no signs) whose share of a token is an estimate: missed "
            "between gradients and placed by the slopes there"
        ),
    ] = 0.0


class EffectsReady(AnswerEvent, frozen=True, tag="effects_ready"):
    """Answer to `request_effects`: what each ablation did to the metric."""

    metric: Metric
    scope: MeasuredScope
    ablation: AblationValue
    everywhere: bool
    components: list[Component]
    effects: Annotated[Tensor, Meta(description="float32 [n]: metric - metric when ablated, logits")]
    probs: Annotated[Tensor, Meta(description="float32 [n]: the target's probability when ablated")]
    clean_prob: float
    attributed: Annotated[
        Tensor | None, Meta(description="float32 [n]: what attribution says of the same components, same positions")
    ]
    spearman: Annotated[float | None, Meta(description="rank correlation of the two; none for fewer than three")]
    sign_agreement: Annotated[float | None, Meta(description="fraction of equal signs, ten strongest attributed")]
    secs: float


class PatchingReady(AnswerEvent, frozen=True, tag="patching_ready"):
    """Answer to `request_patching`: (patched - corrupted) / (clean - corrupted); 0 nothing restored, 1 all of it.

    Of the run's (clean) values put into the corrupted run. `metric` is the clean run's.
    """

    metric: Metric
    corrupted_value: Annotated[float, Meta(description="the metric of the other prompt's run, logits")]
    clean_tokens: Annotated[list[str], Meta(description="n_pos texts, up to the metric's position")]
    corrupted_tokens: list[str]
    first_difference: Annotated[Index, Meta(description="before this position both runs are the same")]
    resid_pre: Annotated[Tensor, Meta(description="float32 [n_layers, n_pos]: the stream before each layer")]
    attn_out: Annotated[Tensor, Meta(description="float32 [n_layers, n_pos]")]
    mlp_out: Annotated[Tensor, Meta(description="float32 [n_layers, n_pos]")]
    heads_last: Annotated[Tensor, Meta(description="float32 [n_layers, n_heads]: z at the metric's position only")]
    heads_all: Annotated[Tensor, Meta(description="float32 [n_layers, n_heads]: z at every position")]
    resid_distance: Annotated[
        Tensor, Meta(description="float32 [n_layers+1, n_pos]: |clean - corrupted| / |corrupted|, nothing patched")
    ]
    head_norm_difference: Annotated[
        Tensor, Meta(description="float32 [n_layers, n_heads]: clean - corrupted, channel `heads`, last position")
    ]
    n_patches: Annotated[Count, Meta(description="runs that were made")]
    secs: float


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


class DirectionReady(AnswerEvent, frozen=True, tag="direction_ready"):
    """Answer to `request_direction`."""

    direction: DirectionInfo
    vector: Annotated[Tensor, Meta(description="float32 [d_model]")]
    separation: Annotated[
        Tensor | None,
        Meta(
            description="float32 [n_layers], of contrast, each prompt held out in turn: how far on its own side of the "
            "others' midpoint it lies, along their difference; the mean over all, in standard deviations"
        ),
    ] = None
    accuracy: Annotated[
        Tensor | None, Meta(description="float32 [n_layers], of contrast: held-out prompts on their own side")
    ] = None


Question = (
    RequestAttribution
    | RequestPaths
    | RequestOverview
    | RequestRelevance
    | RequestEffects
    | RequestPatching
    | RequestHeadProfile
    | RequestHeadScores
    | RequestNeuronProfile
    | RequestLens
    | RequestHeadLens
    | RequestStreamPca
    | RequestAttentionEntropy
    | RequestComparison
    | RequestDirection
)
Answer = (
    AnalysisProgress
    | AttributionReady
    | PathsReady
    | OverviewReady
    | RelevanceReady
    | EffectsReady
    | PatchingReady
    | HeadScoresReady
    | HeadProfileReady
    | NeuronProfileReady
    | LensReady
    | HeadLensReady
    | StreamPcaReady
    | AttentionEntropyReady
    | ComparisonReady
    | DirectionReady
)


def analysis_kind(question: Question) -> AnalysisKind:
    """The question's tag without `request_`: what `Capabilities.analyses` lists."""
    return _KINDS[type(question)]


_KINDS: dict[type[Question], AnalysisKind] = {
    RequestAttribution: "attribution",
    RequestPaths: "paths",
    RequestOverview: "overview",
    RequestRelevance: "relevance",
    RequestEffects: "effects",
    RequestPatching: "patching",
    RequestHeadProfile: "head_profile",
    RequestHeadScores: "head_scores",
    RequestNeuronProfile: "neuron_profile",
    RequestDirection: "direction",
    RequestLens: "lens",
    RequestHeadLens: "head_lens",
    RequestStreamPca: "stream_pca",
    RequestAttentionEntropy: "attention_entropy",
    RequestComparison: "comparison",
}
