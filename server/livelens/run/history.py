"""What a run's positions did: quantised for the whole run, exact floats for as long as they fit."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from livelens.model.engine import StepArrays
from livelens.protocol.messages import Component
from livelens.protocol.tensors import expand_int8
from livelens.run.jobs import Arrays
from livelens.run.quantise import merged, size_bytes


class History:
    """Arrays by position, within two byte budgets; where one is spent the oldest position goes first.

    Arrays are never changed in place: what a reader was handed stays as it was.
    """

    def __init__(self, *, exact_budget_bytes: int, quantised_budget_bytes: int) -> None:
        self._exact: OrderedDict[int, StepArrays] = OrderedDict()
        self._quantised: OrderedDict[int, Arrays] = OrderedDict()
        self._exact_budget = exact_budget_bytes
        self._quantised_budget = quantised_budget_bytes
        self._exact_bytes = 0
        self._quantised_bytes = 0
        self._let_go: list[int] = []

    @property
    def n_bytes(self) -> int:
        """Memory held, bytes."""
        return self._exact_bytes + self._quantised_bytes

    def put(self, pos: int, arrays: Arrays, exact: StepArrays) -> Arrays:
        """Add a position's arrays, or further ones; returns all its quantised arrays."""
        if not arrays:
            return self._quantised.get(pos, {})
        whole = {**self._quantised.get(pos, {}), **arrays}
        both = merged(self._exact[pos], exact) if pos in self._exact else exact
        self._forget(pos)
        self._quantised[pos] = whole
        self._quantised_bytes += _arrays_bytes(whole)
        self._exact[pos] = both
        self._exact_bytes += size_bytes(both)
        self._keep_to_budget()
        return whole

    def let_go(self) -> list[int]:
        """Positions whose quantised arrays gave way to later ones since this was last asked."""
        let_go, self._let_go = self._let_go, []
        return let_go

    def truncate(self, from_pos: int) -> None:
        """Forget every position from `from_pos` on."""
        for pos in [pos for pos in self._quantised if pos >= from_pos]:
            self._forget(pos)

    def drop_exact(self) -> None:
        """Give up the exact floats; the quantised record stays."""
        self._exact.clear()
        self._exact_bytes = 0

    def quantised(self, pos: int) -> Arrays | None:
        """The wire arrays of a position; none when it has none, or no longer."""
        return self._quantised.get(pos)

    def exact(self, pos: int) -> StepArrays | None:
        """The float32 arrays of a position; none when they were not captured, or no longer."""
        return self._exact.get(pos)

    def _forget(self, pos: int) -> None:
        arrays, exact = self._quantised.pop(pos, None), self._exact.pop(pos, None)
        if arrays is not None:
            self._quantised_bytes -= _arrays_bytes(arrays)
        if exact is not None:
            self._exact_bytes -= size_bytes(exact)

    def _keep_to_budget(self) -> None:
        while self._exact_bytes > self._exact_budget and len(self._exact) > 1:
            _, exact = self._exact.popitem(last=False)
            self._exact_bytes -= size_bytes(exact)
        while self._quantised_bytes > self._quantised_budget and len(self._quantised) > 1:
            pos, arrays = self._quantised.popitem(last=False)
            self._quantised_bytes -= _arrays_bytes(arrays)
            self._let_go.append(pos)


def _arrays_bytes(arrays: Arrays) -> int:
    return sum(values.nbytes for values in arrays.values())


def component_value(component: Component, exact: StepArrays | None, arrays: Arrays | None) -> tuple[float, bool]:
    """A component's value at one position, and whether it is exact; NaN where nothing was captured.

    neuron: its activation; head: norm of what it writes; attn, mlp: norm of what the layer's writes.
    """
    layer, index = component.layer, component.index
    match component.kind:
        case "neuron":
            if exact is not None and exact.neurons is not None:
                return float(exact.neurons[layer, index]), True
            return (_expanded_neuron(arrays, layer, index), False) if arrays and "neurons" in arrays else (np.nan, True)
        case "head":
            rows, name = exact.heads if exact is not None else None, "heads"
            where: tuple[int, ...] = (layer, index)
        case "attn":
            rows, name, where = exact.attn_out if exact is not None else None, "attn_out", (layer,)
        case _:
            rows, name, where = exact.mlp_out if exact is not None else None, "mlp_out", (layer,)
    if rows is not None:
        return float(rows[where]), True
    return (float(arrays[name][where]), False) if arrays and name in arrays else (np.nan, True)


def _expanded_neuron(arrays: Arrays, layer: int, index: int) -> float:
    codes = arrays["neurons"][layer : layer + 1, index : index + 1].astype(np.int8)
    scale = arrays["neurons_scale"][layer : layer + 1].astype(np.float32)
    return float(expand_int8(codes, scale)[0, 0])


def attention_row(
    layer: int, head_index: int, query_pos: int, exact: StepArrays | None, arrays: Arrays | None
) -> tuple[NDArray[np.float32], bool] | None:
    """One head's attention row float32 [query_pos+1] and whether it is exact; none when not captured.

    From the quantised record of a long row, the keys that were not kept share the rest evenly.
    """
    if exact is not None and exact.attention is not None:
        return np.ascontiguousarray(exact.attention[layer, head_index], np.float32), True
    if not arrays or "attention" not in arrays:
        return None
    weights = arrays["attention"][layer, head_index].astype(np.float32)
    if "attention_keys" not in arrays:
        row = weights
    else:
        keys = arrays["attention_keys"][layer, head_index].astype(np.int64)
        rest = float(arrays["attention_rest"][layer, head_index].astype(np.float32))
        row = np.full(query_pos + 1, rest / max(1, query_pos + 1 - len(keys)), np.float32)
        row[keys] = weights
    total = float(row.sum())
    return (row / np.float32(total) if total > 0 else row), False
