"""Questions that attribution answers, and their answers: why this token, in the model linearised at a run.

A node is a component at one token, `L12H3@37`, `L5.mlp@12`, `L7N1404@12`, `embed@3`, or the logit
metric, `logit@14`: the metric of the prediction after position 14.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, field

from livelens.protocol.commands import RunCommand
from livelens.protocol.events import AnswerEvent
from livelens.protocol.interventions import Component
from livelens.protocol.step_tensors import Tensor
from livelens.protocol.vocabulary import Count, Index, TokenText, WireInput, WireValue, require_finite

MAX_EDGES = 512

NodeId = Annotated[str, Meta(min_length=1, max_length=40, pattern=r"^(L\d+(H\d+|N\d+|\.attn|\.mlp)|embed|logit)@\d+$")]
EdgePart = Literal["input", "value", "query", "key"]
RelevanceMethod = Literal["frozen", "gradient_x_input", "integrated_gradients"]


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


class MetricCommand(RunCommand, frozen=True):
    """Base of the questions about one metric of one run."""

    metric: MetricQuestion


class RequestAttribution(MetricCommand, frozen=True, tag="request_attribution"):
    """Who fed a node (`incoming`), or whom it fed (`outgoing`), in the model linearised at this run."""

    node: NodeId
    direction: Literal["incoming", "outgoing"] = "incoming"
    key_pos: Annotated[
        Index | None, Meta(description="for a head's query and key edges: the key looked at; none: the strongest")
    ] = None
    n_edges: Annotated[int, Meta(ge=1, le=MAX_EDGES, description="strongest edges of each part to send")] = 40


class RequestPaths(MetricCommand, frozen=True, tag="request_paths"):
    """The strongest paths from the input tokens to this logit."""

    n_nodes: Annotated[int, Meta(ge=2, le=MAX_EDGES)] = 60
    threshold: Annotated[float, Meta(ge=0, le=1, description="leave out edges below this fraction of the metric")] = (
        0.01
    )

    def __post_init__(self) -> None:
        require_finite("threshold", self.threshold)


class RequestOverview(MetricCommand, frozen=True, tag="request_overview"):
    """Direct effects of every component on the metric, and the metric layer by layer."""

    n_neurons: Annotated[int, Meta(ge=0, le=MAX_EDGES)] = 64


class RequestRelevance(MetricCommand, frozen=True, tag="request_relevance"):
    """How much each token of the text matters for the metric."""

    method: RelevanceMethod = "frozen"


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
