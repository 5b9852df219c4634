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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from torch import Tensor

from livelens.analysis.attribution import NodeValue, strongest_neurons
from livelens.analysis.edge_types import Pull, StreamGradient, WriterEdges
from livelens.analysis.edges import Edges
from livelens.analysis.nodes import AttributionError, Node, NodeKind
from livelens.model.engine import F32

Bools = npt.NDArray[np.bool_]

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

    ident: int
    node: Node
    pull: Pull
    edges: WriterEdges


class _Readers:
    """Readers by what they are: a graph begun again with a higher threshold meets most of them again."""

    def __init__(self, edges: Edges) -> None:
        self._edges = edges
        self._known: dict[tuple[Node, tuple[int, ...], tuple[int, ...]], _Reader] = {}
        self._named: dict[tuple[Node, tuple[int, ...]], list[NodeValue]] = {}

    def reader(self, node: Node, into: Sequence[_Reader], without: Sequence[_Reader] = ()) -> _Reader:
        """`node` as it feeds `into` (none: the metric itself), less what its neurons `without` read of it."""
        key = node, _idents(into), _idents(without)
        if key not in self._known:
            pull = self._edges.pull(node, _along(into, node.pos) if into else None)
            for part in without:
                pull = _less(pull, part.pull)
            self._known[key] = _Reader(len(self._known), node, pull, self._edges.writers.along(pull))
        return self._known[key]

    def neurons(self, mlp: Node, into: Sequence[_Reader], cut: float) -> list[Node]:
        """The neurons of one MLP at its token that alone reach `cut` where it feeds `into`."""
        key = mlp, _idents(into)
        if key not in self._named:
            terms = self._edges.neuron_terms(mlp, _along(into, mlp.pos))
            self._named[key] = strongest_neurons({mlp.layer: terms[None]}, _NEURONS_PER_MLP)
        return [
            Node(kind="neuron", layer=mlp.layer, index=entry.node.index, pos=mlp.pos)
            for entry in self._named[key]
            if abs(entry.value) >= cut
        ]


def _idents(readers: Sequence[_Reader]) -> tuple[int, ...]:
    return tuple(reader.ident for reader in readers)


def _along(readers: Sequence[_Reader], pos: int) -> Tensor:
    """[d_model]: the direction that `readers` together read the stream along at one token."""
    first, *others = (reader.pull.gradient.row(pos) for reader in readers)
    return sum(others, first)


@dataclass(slots=True)
class _Growth:
    """The graph while it grows. sure_heads [n_layers, n_pos, n_heads], sure_mlps [n_layers, n_pos]: which
    writers are certain to be drawn, by one edge that reaches the threshold alone.
    """

    sure_heads: Bools
    sure_mlps: Bools
    readers: list[_Reader] = field(default_factory=list)
    nodes: dict[Node, float] = field(default_factory=dict)
    edges: dict[tuple[Node, Node], float] = field(default_factory=dict)
    tokens: float = 0.0
    biases: float = 0.0

    def add(self, reader: _Reader, cut: float) -> None:
        self.readers.append(reader)
        self.biases += sum(reader.pull.biases.values()) + float(reader.edges.attn_bias.sum(dtype="float64"))
        self.sure_heads |= np.abs(reader.edges.heads) >= cut
        self.sure_mlps |= np.abs(reader.edges.mlps) >= cut

    def check(self, max_nodes: int, *, n_heads: int, n_mlps: int) -> None:
        """Raise _TooManyError where it is certain that there will be more, with heads below layer `n_heads`
        and MLPs below layer `n_mlps` yet to come.
        """
        sure = np.count_nonzero(self.sure_heads[:n_heads]) + np.count_nonzero(self.sure_mlps[:n_mlps])
        if len(self.nodes) + sure > max_nodes:
            raise _TooManyError


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
    known = _Readers(edges)
    while True:
        try:
            growth = _grow(edges, known, threshold * abs(edges.attribution.metric), max_nodes, between)
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


def _grow(edges: Edges, known: _Readers, cut: float, max_nodes: int, between: Callable[[], None]) -> _Growth:
    """The graph of nodes with at least `cut`; raises _TooManyError beyond `max_nodes`."""
    shape, n_pos = edges.run.anatomy.shape, edges.run.n_positions
    growth = _Growth(
        sure_heads=np.zeros((shape.n_layers, n_pos, shape.n_heads), np.bool_),
        sure_mlps=np.zeros((shape.n_layers, n_pos), np.bool_),
    )
    logit = Node(kind="logit", pos=edges.attribution.pos)
    growth.nodes[logit] = edges.attribution.metric
    growth.add(known.reader(logit, ()), cut)
    for layer in reversed(range(shape.n_layers)):
        for node in _candidates(growth, cut, "mlp", layer):
            between()
            _expand(known, growth, node, cut)
            growth.check(max_nodes, n_heads=layer + 1, n_mlps=layer)
        for node in _candidates(growth, cut, "head", layer):
            between()
            _expand(known, growth, node, cut)
            growth.check(max_nodes, n_heads=layer, n_mlps=layer)
    # Paths end at tokens, so a token is drawn for less than a component, as far as there is room.
    leaves = [node for kind in _LEAVES for node in _candidates(growth, cut / 4, kind, 0)]
    leaves.sort(key=lambda node: -abs(sum(_edge_of(reader, node) for reader in growth.readers)))
    for node in leaves[: max(1, max_nodes - len(growth.nodes))]:
        growth.tokens += sum(_edge_of(reader, node) for reader in _connect(growth, node, cut / 4))
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


def _connect(growth: _Growth, node: Node, cut: float) -> list[_Reader]:
    """Draw `node` and its edges to its readers; those it is drawn to."""
    weights = [_edge_of(reader, node) for reader in growth.readers]
    largest = max(abs(weight) for weight in weights)
    value, into = 0.0, []
    for reader, weight in zip(growth.readers, weights, strict=True):
        if weight == 0.0 or abs(weight) < min(cut / 4, largest):
            continue
        growth.edges[node, reader.node] = weight
        value += weight
        into.append(reader)
    growth.nodes[node] = value
    return into


def _expand(known: _Readers, growth: _Growth, node: Node, cut: float) -> None:
    """Draw `node` and make it a reader; an MLP's strongest neurons become readers of their own."""
    into = _connect(growth, node, cut)
    if not into:
        return
    parts: list[_Reader] = []
    for neuron in known.neurons(node, into, cut) if node.kind == "mlp" else ():
        part = known.reader(neuron, into)
        growth.nodes[neuron] = part.pull.value
        growth.edges[neuron, node] = part.pull.value
        growth.add(part, cut)
        parts.append(part)
    growth.add(known.reader(node, into, parts), cut)


def _less(whole: Pull, part: Pull) -> Pull:
    """What of a pull is left when one of its neurons is drawn by itself."""
    names = {**whole.biases}
    for name, value in part.biases.items():
        names[name] = names.get(name, 0.0) - value
    return Pull(
        value=whole.value - part.value,
        gradient=StreamGradient(amounts=whole.gradient.amounts, rows=whole.gradient.rows - part.gradient.rows),
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
            direction = pull.gradient.row(source.pos)
            yield float((edges.writers.written(source) * direction).sum()), source, direction
