"""The strongest paths from the input tokens to a logit, through the edges of the linearised run.

Circuit tracing (Ameisen et al. 2025) prunes a graph of features; here the graph is grown from the logit
down, in the order of the computation, so that every component is met after all its readers and needs
one expansion. What a component counts for is its output along the gradient that its *kept* readers
pass down: every number is the part of the metric that flows through the drawn graph and no other, and
what was left out is known exactly.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from livelens.analysis.attribution import strongest_neurons
from livelens.analysis.edge_types import Pull, WriterEdges
from livelens.analysis.edges import Edges
from livelens.analysis.nodes import AttributionError, Node, NodeKind
from livelens.model.engine import F32

MAX_NODES = 200
MAX_PATHS = 200
_NEURONS_PER_MLP = 4
_LEAVES: tuple[NodeKind, ...] = ("embed", "pos_embed")


@dataclass(frozen=True, slots=True, kw_only=True)
class PathNode:
    """A drawn node; `value`: what of the metric flows through it within the graph, in logits."""

    node: Node
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PathEdge:
    """What of the metric flows from `source` to `target` (node ids), in logits."""

    source: str
    target: str
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """One way from an input token to the logit, as node ids, and exactly what of the metric takes it."""

    nodes: tuple[str, ...]
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PathGraph:
    """The strongest paths as a graph: `tokens + biases + hidden = metric`.

    tokens: what reaches input tokens within the graph; biases: what the drawn components' own biases and
    attention's output biases add; hidden: what flows through components that are not drawn. shown: 1 -
    |hidden| / (|tokens| + |biases| + |hidden|). threshold: the share of the metric below which a
    component was left out, raised above the one asked for where there would be too many.
    """

    metric: float
    nodes: list[PathNode]
    edges: list[PathEdge]
    paths: list[Path]
    tokens: float
    biases: float
    hidden: float
    shown: float
    threshold: float


@dataclass(slots=True)
class _Reader:
    """One expanded node: its pulled-back gradient, and its edges from every writer."""

    node: Node
    pull: Pull
    edges: WriterEdges


@dataclass(slots=True)
class _Growth:
    """The graph while it grows."""

    readers: list[_Reader] = field(default_factory=list)
    nodes: dict[Node, float] = field(default_factory=dict)
    edges: dict[tuple[Node, Node], float] = field(default_factory=dict)
    tokens: float = 0.0
    biases: float = 0.0


class _TooManyError(Exception):
    pass


def _go_on() -> None:
    """Nothing asks to stop."""


def strongest_paths(
    edges: Edges,
    *,
    threshold: float = 0.03,
    n_paths: int = 20,
    max_nodes: int = 60,
    between: Callable[[], None] = _go_on,
) -> PathGraph:
    """The graph of components through which at least `threshold` of the metric flows, and its strongest paths.

    threshold: a share of |metric|. Bounded by `max_nodes`: the threshold is raised until they are fewer.
    between: called between steps; what it raises ends the work.
    Raises AttributionError for bounds outside 0 < threshold <= 1, 1 to 200 nodes, 0 to 200 paths.
    """
    if not 0 < threshold <= 1 or not 2 <= max_nodes <= MAX_NODES or not 0 <= n_paths <= MAX_PATHS:
        raise AttributionError(
            f"paths take a threshold above 0 and at most 1, 2 to {MAX_NODES} nodes and 0 to {MAX_PATHS} paths"
        )
    while True:
        try:
            growth = _grow(edges, threshold * abs(edges.attribution.metric), max_nodes, between)
            break
        except _TooManyError:
            threshold *= 1.5
    metric = edges.attribution.metric
    hidden = metric - growth.tokens - growth.biases
    whole = abs(growth.tokens) + abs(growth.biases) + abs(hidden)
    return PathGraph(
        metric=metric,
        nodes=[PathNode(node=node, value=value) for node, value in growth.nodes.items()],
        edges=[
            PathEdge(source=source.node_id, target=target.node_id, weight=weight)
            for (source, target), weight in growth.edges.items()
        ],
        paths=_best_paths(edges, growth, n_paths, between),
        tokens=growth.tokens,
        biases=growth.biases,
        hidden=hidden,
        shown=1.0 - abs(hidden) / whole if whole > 0 else 1.0,
        threshold=threshold,
    )


def _grow(edges: Edges, cut: float, max_nodes: int, between: Callable[[], None]) -> _Growth:
    """The graph of nodes with at least `cut`; raises _TooManyError beyond `max_nodes`."""
    growth = _Growth()
    logit = Node(kind="logit", pos=edges.attribution.pos)
    growth.nodes[logit] = edges.attribution.metric
    _add_reader(edges, growth, logit, edges.pull(logit))
    n_layers = edges.run.anatomy.shape.n_layers
    for layer in reversed(range(n_layers)):
        for node in _candidates(growth, cut, "mlp", layer):
            between()
            _expand(edges, growth, node, cut)
            if len(growth.nodes) > max_nodes:
                raise _TooManyError
        for node in _candidates(growth, cut, "head", layer):
            between()
            _expand(edges, growth, node, cut)
            if len(growth.nodes) > max_nodes:
                raise _TooManyError
    # Paths end at tokens, so a token is drawn for less than a component, as far as there is room.
    leaves = [node for kind in _LEAVES for node in _candidates(growth, cut / 4, kind, 0)]
    leaves.sort(key=lambda node: -abs(sum(_edge_of(reader, node) for reader in growth.readers)))
    for node in leaves[: max(1, max_nodes - len(growth.nodes))]:
        growth.tokens += _connect(growth, node, cut / 4)[0]
    return growth


def _array(edges: WriterEdges, kind: NodeKind, layer: int) -> F32 | None:
    """Edges of one kind and layer, [n_pos, n] or [n_pos]."""
    if kind in _LEAVES:
        return edges.embed if kind == "embed" else edges.pos_embed
    by_layer: list[F32] = list(edges.heads if kind == "head" else edges.mlps)
    return by_layer[layer]


def _candidates(growth: _Growth, cut: float, kind: NodeKind, layer: int) -> Iterator[Node]:
    """Writers of one kind and layer whose edges, added up or the largest alone, reach `cut`."""
    arrays = [array for reader in growth.readers if (array := _array(reader.edges, kind, layer)) is not None]
    if not arrays:
        return
    stacked = np.stack(arrays)
    strong = np.maximum(np.abs(stacked.sum(0)), np.abs(stacked).max(0)) >= cut
    for place in np.argwhere(strong).tolist():
        pos, index = (place[0], place[1]) if len(place) == 2 else (place[0], 0)
        yield Node(kind=kind, layer=layer, index=index, pos=pos)


def _edge_of(reader: _Reader, node: Node) -> float:
    array = _array(reader.edges, node.kind, node.layer)
    if array is None:
        return 0.0
    return float(array[node.pos, node.index] if node.kind == "head" else array[node.pos])


def _connect(growth: _Growth, node: Node, cut: float) -> tuple[float, Tensor | None]:
    """Draw the edges from `node` to its readers; what flows through them, and along which direction."""
    weights = [(reader, _edge_of(reader, node)) for reader in growth.readers]
    largest = max(abs(weight) for _, weight in weights)
    value, along = 0.0, None
    for reader, weight in weights:
        if weight == 0.0 or abs(weight) < min(cut / 4, largest):
            continue
        growth.edges[node, reader.node] = weight
        value += weight
        row = reader.pull.gradient[node.pos]
        along = row if along is None else along + row
    growth.nodes[node] = value
    return value, along


def _add_reader(edges: Edges, growth: _Growth, node: Node, pull: Pull) -> None:
    found = edges.writers(pull)
    growth.readers.append(_Reader(node, pull, found))
    growth.biases += sum(pull.biases.values()) + float(found.attn_bias.sum(dtype="float64"))


def _expand(edges: Edges, growth: _Growth, node: Node, cut: float) -> None:
    """Draw `node` and make it a reader; an MLP's strongest neurons become readers of their own."""
    _, along = _connect(growth, node, cut)
    if along is None:
        return
    pull = edges.pull(node, along)
    if node.kind == "mlp":
        for neuron, part in _neurons(edges, node, along, cut):
            growth.nodes[neuron] = part.value
            growth.edges[neuron, node] = part.value
            _add_reader(edges, growth, neuron, part)
            pull = _less(pull, part)
    _add_reader(edges, growth, node, pull)


def _neurons(edges: Edges, mlp: Node, along: Tensor, cut: float) -> list[tuple[Node, Pull]]:
    """The neurons of one MLP at its token that alone reach `cut` along a direction."""
    terms = edges.neuron_terms(mlp, along)
    named = strongest_neurons({mlp.layer: terms[None]}, _NEURONS_PER_MLP)
    strong = [
        Node(kind="neuron", layer=mlp.layer, index=entry.node.index, pos=mlp.pos)
        for entry in named
        if abs(entry.value) >= cut
    ]
    return [(neuron, edges.pull(neuron, along)) for neuron in strong]


def _less(whole: Pull, part: Pull) -> Pull:
    """What of a pull is left when one of its neurons is drawn by itself."""
    names = {**whole.biases}
    for name, value in part.biases.items():
        names[name] = names.get(name, 0.0) - value
    return Pull(
        value=whole.value - part.value,
        gradient=whole.gradient - part.gradient,
        pos=whole.pos,
        n_attn=whole.n_attn,
        n_mlp=whole.n_mlp,
        biases=names,
    )


def _best_paths(edges: Edges, growth: _Growth, n_paths: int, between: Callable[[], None]) -> list[Path]:
    """The strongest ways through the graph, best first by the weight of the way so far.

    A way's weight is exact: each step pulls back along this way's own direction alone. A way may grow
    where it splits with opposite signs, so a stronger one than the last found can have been missed.
    """
    into: dict[Node, list[Node]] = {}
    for source, target in growth.edges:
        into.setdefault(target, []).append(source)
    order = itertools.count()
    logit = next(iter(growth.nodes))
    heap: list[tuple[float, int, float, tuple[Node, ...], Tensor | None]] = [
        (-float("inf"), next(order), edges.attribution.metric, (logit,), None)
    ]
    found: list[Path] = []
    budget = 50 + 10 * n_paths
    while heap and len(found) < n_paths and budget > 0:
        _, _, weight, way, along = heapq.heappop(heap)
        node = way[-1]
        if node.kind in _LEAVES:
            found.append(Path(nodes=tuple(step.node_id for step in reversed(way)), weight=weight))
            continue
        budget -= 1
        between()
        for next_weight, source, next_along in _steps(edges, node, along, into.get(node, [])):
            heapq.heappush(heap, (-abs(next_weight), next(order), next_weight, (*way, source), next_along))
    return found


def _steps(edges: Edges, node: Node, along: Tensor | None, sources: list[Node]) -> Iterator[tuple[float, Node, Tensor]]:
    """From a reader along a direction to each of its drawn writers: weight, writer, the writer's direction."""
    if not sources:
        return
    pull = edges.pull(node, along)
    neurons = [source for source in sources if source.kind == "neuron" and node.kind == "mlp"]
    if along is not None:
        for neuron in neurons:
            part = edges.pull(neuron, along)
            pull = _less(pull, part)
            yield part.value, neuron, along
    for source in sources:
        if source not in neurons:
            direction = pull.gradient[source.pos]
            yield float((edges.written(source) * direction).sum()), source, direction
