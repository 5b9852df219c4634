"""Interventions made ready for a model: what happens at one site of one layer, at which positions. Numpy data only.

Sites are those of `model/capture.py`: z [n_heads * d_head], neurons [d_mlp], attn_out, mlp_out, resid [d_model]
(before layer `layer`; n_layers: after the last), pattern [n_heads, n_keys]; and the weight matrices w_out and w_o,
whose values are what comes out of the matrix and what goes into it, side by side [d_model + d_in].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from livelens.protocol.messages import DirectionUnit, EditedMatrix

F32 = NDArray[np.float32]
Indices = NDArray[np.intp]
MatrixSite = Literal["w_out", "w_o"]
EditSite = Literal["z", "neurons", "attn_out", "mlp_out", "resid", "pattern"] | MatrixSite
Place = tuple[EditSite, int]
MATRIX_SITES: dict[EditedMatrix, MatrixSite] = {"mlp_out": "w_out", "ov": "w_o"}


@dataclass(frozen=True, slots=True)
class Span:
    """The positions of one forward call, from `start` on, and the tokens read there."""

    start: int
    token_ids: tuple[int, ...]

    @property
    def n_positions(self) -> int:
        """How many."""
        return len(self.token_ids)

    @property
    def positions(self) -> Indices:
        """All of them, ascending."""
        return np.arange(self.start, self.start + len(self.token_ids))


@dataclass(frozen=True, slots=True, kw_only=True)
class Where:
    """The positions `start` to `stop` - 1, or of these only those that read one of `token_ids`."""

    start: int = 0
    stop: int | None = None
    token_ids: frozenset[int] | None = None

    def at(self, span: Span) -> NDArray[np.bool_]:
        """[n_positions]: which of a forward call's positions are meant."""
        positions = span.positions
        chosen: NDArray[np.bool_] = positions >= self.start
        if self.stop is not None:
            chosen &= positions < self.stop
        if self.token_ids is not None:
            chosen &= np.fromiter((token_id in self.token_ids for token_id in span.token_ids), bool, len(positions))
        return chosen

    @property
    def is_everywhere(self) -> bool:
        """No position is left out."""
        return self.start == 0 and self.stop is None and self.token_ids is None


EVERYWHERE = Where()


@dataclass(frozen=True, slots=True, eq=False)
class Scaled:
    """Values times `factors` [width]; [1] for all alike."""

    factors: F32


@dataclass(frozen=True, slots=True, eq=False)
class Replacement:
    """`columns` [n] of the `width` become `values`: [n], or [n_positions, n] by position.

    Where there is no such position they stay as they are.
    """

    columns: Indices
    values: F32
    width: int


@dataclass(frozen=True, slots=True, eq=False)
class Added:
    """`amount` times `direction` [d_model] is added; see DirectionUnit."""

    direction: F32
    amount: float
    unit: DirectionUnit


@dataclass(frozen=True, slots=True, eq=False)
class ProjectedOut:
    """The part along `direction` [d_model] is taken away."""

    direction: F32


@dataclass(frozen=True, slots=True, eq=False)
class RowsWritten:
    """Rows of the `heads` of a layer's pattern are written: see AttentionEdit.

    weights: of `keys`, summing to one for knockout (where they mean nothing) and equal shares.
    """

    kind: Literal["knockout", "set", "turn"]
    heads: Indices
    keys: Indices
    weights: F32
    from_keys: Indices
    keeps_rest: bool
    renormalises: bool


@dataclass(frozen=True, slots=True, eq=False)
class RankOne:
    """`amount` times `value` [d_model] times what goes into a matrix, along `key` [d_in], is added to what comes out.

    `(W + amount * value key^T) x` without writing W: other runs multiply by the same weights.
    """

    key: F32
    value: F32
    amount: float


@dataclass(frozen=True, slots=True, eq=False)
class WeightEdit:
    """A rank-1 edit as it is held: of which layer's matrix, its key [d_in] and value [d_model]."""

    matrix: EditedMatrix
    layer: int
    key: F32
    value: F32


Change = RankOne | Scaled | Replacement | Added | ProjectedOut | RowsWritten


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One change at one place, at the positions `where`."""

    place: Place
    where: Where
    change: Change

    def acts_on(self, span: Span) -> NDArray[np.bool_]:
        """[n_positions]: at which of a forward call's positions something is changed."""
        acts = self.where.at(span)
        if isinstance(self.change, Replacement) and self.change.values.ndim == 2:
            acts = acts & (span.positions < len(self.change.values))
        return acts
