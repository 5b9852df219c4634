"""What attribution found, as the wire's answers: nodes by id, strongest first, and what was left out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from livelens.analysis.attribution import Attribution, NodeValue
from livelens.analysis.edge_types import Incoming, Outgoing
from livelens.analysis.nodes import Node, NodeKind, parse_node
from livelens.analysis.paths import PathGraph
from livelens.model.engine import F32
from livelens.protocol.messages import (
    AttributionPart,
    Component,
    Edge,
    EdgePart,
    GraphNode,
    Metric,
    OverviewReady,
    PathsReady,
    RequestOverview,
    RequestPaths,
)
from livelens.protocol.tensors import encode_tensor


@dataclass(frozen=True, slots=True)
class _Grid:
    """Weights of one kind of node by layer (where it has one), position (unless fixed) and index."""

    kind: NodeKind
    weights: F32
    pos: int | None = None

    def node(self, place: int) -> Node:
        """The node of the flat place in `weights`."""
        at = [int(i) for i in np.unravel_index(place, self.weights.shape)]
        match self.kind:
            case "embed":
                return Node(kind="embed", pos=at[0])
            case "head":
                return Node(kind="head", layer=at[0], pos=at[1], index=at[2])
            case "logit":
                return Node(kind="logit", pos=self.pos or 0)
            case _:
                return Node(kind=self.kind, layer=at[0], pos=at[1] if self.pos is None else self.pos)


def _strongest(grids: Sequence[_Grid], k: int) -> tuple[list[NodeValue], float, int]:
    """The k largest magnitudes of all, largest first; the sum and the number of the others that are not 0."""
    flat = np.concatenate([grid.weights.ravel() for grid in grids]).astype(np.float64)
    starts = np.cumsum([0, *(grid.weights.size for grid in grids)])
    order = np.argsort(-np.abs(flat), kind="stable")[:k]
    order = order[flat[order] != 0]
    found: list[NodeValue] = []
    for place in order.tolist():
        which = int(np.searchsorted(starts, place, side="right")) - 1
        found.append(NodeValue(node=grids[which].node(place - int(starts[which])), value=float(flat[place])))
    rest = float(flat.sum() - flat[order].sum())
    return found, rest, int(np.count_nonzero(flat)) - len(order)


def _part_into(reader: Node) -> EdgePart:
    """Through what a reader reads along the metric: a head, its values; everything else, its input."""
    return "value" if reader.kind in ("head", "attn") else "input"


def incoming_part(incoming: Incoming, n_edges: int) -> AttributionPart:
    """Who fed a reader. Attention's output biases are bias; a positional embedding is its token's embedding."""
    found, reader = incoming.edges, incoming.reader
    part = _part_into(reader) if incoming.part == "value" else incoming.part
    embed = found.embed if found.pos_embed is None else found.embed + found.pos_embed
    grids = [_Grid("embed", embed), _Grid("head", found.heads), _Grid("mlp", found.mlps)]
    strongest, rest, n_rest = _strongest(grids, n_edges)

    def edges(values: Sequence[NodeValue]) -> list[Edge]:
        return [Edge(writer=each.node.node_id, reader=reader.node_id, part=part, weight=each.value) for each in values]

    return AttributionPart(
        part=part,
        value=incoming.value,
        edges=edges(strongest),
        rest=rest,
        n_rest=n_rest,
        bias=sum(incoming.biases.values()) + float(found.attn_bias.sum(dtype="float64")),
        error=incoming.error,
        key_pos=incoming.key_pos,
        neurons=edges(found.neurons),
    )


def outgoing_part(outgoing: Outgoing, n_edges: int, *, metric_pos: int) -> AttributionPart:
    """Whom a writer fed: heads by their values, MLPs at its own token, and the metric."""
    writer = outgoing.writer
    grids = [
        _Grid("head", outgoing.heads),
        _Grid("mlp", outgoing.mlps, pos=writer.pos),
        _Grid("logit", np.array([outgoing.logit], np.float32), pos=metric_pos),
    ]
    strongest, rest, n_rest = _strongest(grids, n_edges)

    def edges(values: Sequence[NodeValue]) -> list[Edge]:
        return [
            Edge(writer=writer.node_id, reader=each.node.node_id, part=_part_into(each.node), weight=each.value)
            for each in values
        ]

    return AttributionPart(
        part="input",
        value=outgoing.value,
        edges=edges(strongest),
        rest=rest,
        n_rest=n_rest,
        bias=0.0,
        error=outgoing.error,
        neurons=edges(outgoing.neurons),
    )


def overview_answer(
    question: RequestOverview, metric: Metric, attribution: Attribution, direct: Incoming
) -> OverviewReady:
    """direct: who fed the metric itself. The direct terms and what is shown of them sum to the metric."""
    pos, found = attribution.pos, direct.edges
    relevance = attribution.relevance(n_neurons=0)
    embed = float(found.embed[pos]) + (0.0 if found.pos_embed is None else float(found.pos_embed[pos]))
    final_bias = sum(direct.biases.values())
    heads, mlps, bias = found.heads[:, pos], found.mlps[:, pos], found.attn_bias[:, pos]
    total = embed + final_bias + sum(float(terms.sum(dtype="float64")) for terms in (heads, mlps, bias))
    return OverviewReady(
        request_id=question.request_id,
        run_id=question.run_id,
        metric=metric,
        layer_line=encode_tensor(relevance.layer_line),
        direct_heads=encode_tensor(np.ascontiguousarray(heads)),
        direct_mlps=encode_tensor(np.ascontiguousarray(mlps)),
        direct_bias=encode_tensor(np.ascontiguousarray(bias)),
        relevance_heads=encode_tensor(np.ascontiguousarray(relevance.heads.sum(1))),
        relevance_mlps=encode_tensor(np.ascontiguousarray(relevance.mlps.sum(1))),
        embed=embed,
        final_bias=final_bias,
        neurons=[Component(kind="neuron", layer=each.node.layer, index=each.node.index) for each in found.neurons],
        neuron_values=encode_tensor(np.array([each.value for each in found.neurons], np.float32)),
        shown=total / metric.value if metric.value else 1.0,
    )


def paths_answer(question: RequestPaths, metric: Metric, graph: PathGraph, label: Callable[[Node], str]) -> PathsReady:
    """The graph of the strongest paths; a positional embedding goes with its token's."""
    values: dict[str, float] = {}
    for entry in graph.nodes:
        node = _wire_id(entry.node)
        values[node] = values.get(node, 0.0) + entry.value
    weights: dict[tuple[str, str], float] = {}
    for edge in graph.edges:
        ends = _wire_id(parse_node(edge.source)), _wire_id(parse_node(edge.target))
        weights[ends] = weights.get(ends, 0.0) + edge.weight
    return PathsReady(
        request_id=question.request_id,
        run_id=question.run_id,
        metric=metric,
        nodes=[GraphNode(node=node, relevance=value, label=label(parse_node(node))) for node, value in values.items()],
        edges=[
            Edge(writer=source, reader=target, part=_part_into(parse_node(target)), weight=weight)
            for (source, target), weight in weights.items()
        ],
        shown=graph.shown,
    )


def _wire_id(node: Node) -> str:
    return f"embed@{node.pos}" if node.kind == "pos_embed" else node.node_id
