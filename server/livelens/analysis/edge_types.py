"""What is said of the edges of one attribution: who fed a component, and whom it fed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from livelens.analysis.attribution import NodeValue
from livelens.analysis.nodes import Node, NodeKind, Part
from livelens.model.engine import F32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WriterEdges:
    """Edges from every writer: embed, pos_embed [n_pos], heads [n_layers, n_pos, n_heads], attn_bias and mlps
    [n_layers, n_pos]; 0 where a writer comes after the reader. neurons: the strongest, part of mlps.
    """

    embed: F32
    pos_embed: F32 | None
    heads: F32
    attn_bias: F32
    mlps: F32
    neurons: list[NodeValue]

    def total(self) -> float:
        """The sum of all edges (neurons are in their MLPs)."""
        parts = [self.embed, self.heads, self.attn_bias, self.mlps]
        parts += [] if self.pos_embed is None else [self.pos_embed]
        return float(sum(part.sum(dtype="float64") for part in parts))

    def strongest(self, k: int) -> list[NodeValue]:
        """The k strongest writers by magnitude, largest first; MLPs whole, not by neuron."""
        nodes: list[NodeValue] = []
        leaves: tuple[tuple[NodeKind, F32 | None], ...] = (("embed", self.embed), ("pos_embed", self.pos_embed))
        for kind, array in leaves:
            found: list[float] = [] if array is None else array.tolist()
            nodes += [NodeValue(node=Node(kind=kind, pos=pos), value=value) for pos, value in enumerate(found) if value]
        grids: tuple[tuple[NodeKind, F32], ...] = (
            ("head", self.heads),
            ("attn_bias", self.attn_bias[..., None]),
            ("mlp", self.mlps[..., None]),
        )
        for kind, grid in grids:
            for layer, pos, index in np.argwhere(grid).tolist():
                node = Node(kind=kind, layer=layer, pos=pos, index=index)
                nodes.append(NodeValue(node=node, value=float(grid[layer, pos, index])))
        nodes.sort(key=lambda entry: -abs(entry.value))
        return nodes[:k]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Incoming:
    """Who fed `reader`: `edges.total() + sum(biases) + error = value`.

    part value: in logits, the reader's relevance. part query or key: in units of the attention score
    `query . key * scaling` between the head's token and `key_pos`, before any soft cap; the other of the
    two held fixed. biases: of the reader's own module, by name.
    """

    reader: Node
    part: Part
    key_pos: int | None
    value: float
    edges: WriterEdges
    biases: dict[str, float]
    error: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outgoing:
    """Whom `writer` fed, in logits: `logit + heads + mlps + error = value`, its relevance.

    heads [n_layers, n_pos, n_heads]: value input of each head at each later token; mlps [n_layers]: at the
    writer's own token; neurons: the strongest readers among neurons, part of mlps.
    """

    writer: Node
    value: float
    logit: float
    heads: F32
    mlps: F32
    neurons: list[NodeValue]
    error: float


# A gradient is taken to be of rank one where what that leaves out is within this share of its largest
# entry: float32's rounding.
_RANK_ONE = 2e-6


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamGradient:
    """A gradient at the stream [n_pos, d_model].

    Where it is of rank one, `amounts` [n_pos] times `rows` [d_model]; else amounts none, `rows` all of it.
    """

    amounts: Tensor | None
    rows: Tensor

    @classmethod
    def of(cls, dense: Tensor, pos: int | None) -> StreamGradient:
        """`dense` [n_pos, d_model] as small as it goes; pos: its only row that is not 0, none where many are."""
        if pos is not None:
            amounts = dense.new_zeros(dense.shape[0])
            amounts[pos] = 1.0
            return cls(amounts=amounts, rows=dense[pos].clone())
        row = dense[int(dense.square().sum(-1).argmax())].clone()
        length = row.square().sum()
        if not float(length) > 0.0:
            return cls(amounts=None, rows=dense)
        amounts = dense @ row / length
        left = torch.addr(dense, amounts, row, alpha=-1).abs().max()
        is_one = bool(left <= _RANK_ONE * row.abs().max())
        return cls(amounts=amounts, rows=row) if is_one else cls(amounts=None, rows=dense)

    def row(self, pos: int) -> Tensor:
        """[d_model]: the gradient at one token."""
        return self.rows[pos] if self.amounts is None else self.amounts[pos] * self.rows

    def dense(self) -> Tensor:
        """[n_pos, d_model]."""
        return self.rows if self.amounts is None else self.amounts[:, None] * self.rows

    def dot(self, written: Tensor, rows: slice) -> Tensor:
        """[rows]: what was written at each token, [n_pos, d_model], along the gradient there."""
        if self.amounts is None:
            return (written[rows] * self.rows[rows]).sum(-1)
        return (written[rows].float() @ self.rows) * self.amounts[rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pull:
    """A reader pulled back to the stream: its gradient there, the sublayers that wrote before
    it, its value, and what its own biases add. `pos`: the only row that is not 0, none where many are.
    """

    value: float
    gradient: StreamGradient
    pos: int | None
    n_attn: int
    n_mlp: int
    biases: dict[str, float]
