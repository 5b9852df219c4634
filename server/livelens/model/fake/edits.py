"""Operations of interventions on the fake network's vectors, one position at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from livelens.model.operations import (
    F32,
    Added,
    EditSite,
    Indices,
    MatrixSite,
    Operation,
    ProjectedOut,
    RankOne,
    Replacement,
    RowsWritten,
    Scaled,
)


class PositionEdits:
    """What is changed at one position: `operations` are those that act there."""

    def __init__(self, operations: Sequence[Operation], pos: int) -> None:
        self._operations = operations
        self._pos = pos

    def changed(self, site: EditSite, layer: int, values: F32) -> F32:
        """`values` [width] (a pattern: [n_heads, n_keys]), itself where nothing acts on it."""
        for operation in self._operations:
            if operation.place == (site, layer):
                values = self._apply(operation, values)
        return values

    def acts_at(self, site: EditSite, layer: int) -> bool:
        """Something is changed there."""
        return any(each.place == (site, layer) for each in self._operations)

    def written(self, site: MatrixSite, layer: int, out: F32, into: F32) -> F32:
        """What a weight matrix writes, `out` [d_model], of `into` [d_in] that goes into it."""
        return self.changed(site, layer, np.concatenate([out, into]))[: len(out)] if self.acts_at(site, layer) else out

    def is_replaced(self, site: EditSite, layer: int) -> bool:
        """A whole layer's write was put in the place of what its parts wrote."""
        return any(each.place == (site, layer) and isinstance(each.change, Replacement) for each in self._operations)

    def _apply(self, operation: Operation, values: F32) -> F32:
        change = operation.change
        match change:
            case Scaled():
                scaled: F32 = values * change.factors
                return scaled
            case Replacement():
                replaced = values.copy()
                replaced[change.columns] = change.values[self._pos] if change.values.ndim == 2 else change.values
                return replaced
            case Added():
                vector = change.direction
                if change.unit != "direction":
                    vector = vector / np.linalg.norm(vector)
                strength = change.amount * (float(np.linalg.norm(values)) if change.unit == "stream" else 1.0)
                added: F32 = (values + strength * vector).astype(np.float32)
                return added
            case RankOne():
                written, read = values[: len(change.value)], values[len(change.value) :]
                along = np.float32(change.amount) * (read @ change.key)
                return np.concatenate([written + along * change.value, read]).astype(np.float32)
            case ProjectedOut():
                unit = change.direction.astype(np.float64) / np.linalg.norm(change.direction.astype(np.float64))
                rest: F32 = (values - (values @ unit) * unit).astype(np.float32)
                return rest
            case RowsWritten():
                return _rows_written(change, values)


def _rows_written(change: RowsWritten, pattern: F32) -> F32:
    """The last query's rows [n_heads, n_keys], all of whose keys are visible."""
    n_keys = pattern.shape[-1]
    inside = change.keys < n_keys
    keys, weights = change.keys[inside], change.weights[inside]
    edited = pattern.copy()
    rows = pattern[change.heads]
    if not len(keys) or (change.kind != "knockout" and weights.sum() <= 0):
        return edited
    shares = np.zeros(n_keys, np.float32)
    shares[keys] = weights / weights.sum()
    if change.kind == "knockout":
        kept = rows.copy()
        kept[:, keys] = 0
        left = kept.sum(-1, keepdims=True)
        scale = np.divide(rows.sum(-1, keepdims=True), left, out=np.ones_like(left), where=left > 0)
        edited[change.heads] = kept * (scale if change.renormalises else 1)
    elif change.kind == "set":
        edited[change.heads] = _set(change, rows, keys, weights, shares)
    else:
        moved, rest = rows.sum(-1, keepdims=True), np.zeros_like(rows)
        if len(change.from_keys):
            sources = change.from_keys[change.from_keys < n_keys]
            moved, rest = rows[:, sources].sum(-1, keepdims=True), rows.copy()
            rest[:, sources] = 0
        edited[change.heads] = rest + moved * shares
    return edited


def _set(change: RowsWritten, rows: F32, keys: Indices, weights: F32, shares: F32) -> F32:
    named = np.zeros(rows.shape[-1], np.float32)
    named[keys] = weights
    if not change.keeps_rest:
        return shares if change.renormalises else named
    others = rows.copy()
    others[:, keys] = 0
    left = others.sum(-1, keepdims=True)
    scale = np.divide(1 - weights.sum(), left, out=np.zeros_like(left), where=left > 0)
    written: F32 = np.where(left > 0, named + others * scale, shares)
    return written
