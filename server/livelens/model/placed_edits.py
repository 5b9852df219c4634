"""Operations of interventions in torch: what a forward call does at its own positions, in the list's order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from livelens.model.attention_edits import written_rows
from livelens.model.operations import (
    Added,
    Operation,
    Place,
    ProjectedOut,
    RankOne,
    Replacement,
    RowsWritten,
    Scaled,
    Span,
)
from livelens.model.replaced import Replaced

_Change = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class _Acting:
    """Changes of one place of one batch row (none: of all), each with the positions where it acts; none: at all."""

    row: int | None
    changes: list[tuple[_Change, Tensor | None]]

    def __call__(self, tensor: Tensor) -> Tensor:
        """[batch, pos, width] (a pattern: [batch, n_heads, pos, key_pos]), changed."""
        part = tensor if self.row is None else tensor[self.row : self.row + 1]
        for change, at in self.changes:
            part = change(part) if at is None else torch.where(at, change(part), part)
        if self.row is None:
            return part
        return torch.cat([tensor[: self.row], part, tensor[self.row + 1 :]])


@dataclass(frozen=True, slots=True)
class _AllRows:
    """What acts on each row, one after the other."""

    rows: list[_Acting]

    def __call__(self, tensor: Tensor) -> Tensor:
        for acting in self.rows:
            tensor = acting(tensor)
        return tensor


class PlacedOperations:
    """The operations of a forward call's batch rows, on the model's device."""

    def __init__(self, rows: Sequence[Sequence[Operation]], *, device: torch.device, dtype: torch.dtype) -> None:
        """rows: of each batch row, in order; one alone is for any number of rows."""
        self._rows = rows
        self._device = device
        self._dtype = dtype
        self._made: dict[int, Tensor] = {}
        self.places: list[Place] = list(dict.fromkeys(each.place for row in rows for each in row))

    def at(self, place: Place, span: Span) -> _Change | None:
        """The edit of one place over a forward call's positions; none where nothing acts."""
        found: list[_Acting] = []
        for row, operations in enumerate(self._rows):
            changes = [self._acting(each, span) for each in operations if each.place == place]
            acting = [change for change in changes if change is not None]
            if acting:
                found.append(_Acting(None if len(self._rows) == 1 else row, acting))
        if not found:
            return None
        return found[0] if len(found) == 1 else _AllRows(found)

    def layer_factors(self, span: Span) -> dict[Place, Tensor]:
        """[batch, pos] of each whole layer: what its write was scaled by; 0 where it was replaced."""
        factors: dict[Place, Tensor] = {}
        for row, operations in enumerate(self._rows):
            for operation in operations:
                place, change = operation.place, operation.change
                if place[0] not in ("attn_out", "mlp_out"):
                    continue
                by = float(change.factors[0]) if isinstance(change, Scaled) else 0.0
                acts = torch.from_numpy(operation.acts_on(span)).to(self._device)
                held = factors.setdefault(place, torch.ones(len(self._rows), span.n_positions, device=self._device))
                held[row] = torch.where(acts, held[row] * by, held[row])
        return factors

    def _acting(self, operation: Operation, span: Span) -> tuple[_Change, Tensor | None] | None:
        acts = operation.acts_on(span)
        if not acts.any():
            return None
        at = None
        if not acts.all():
            at = torch.from_numpy(acts).to(self._device)[:, None]
        return self._change(operation, span), at

    def _change(self, operation: Operation, span: Span) -> _Change:
        change = operation.change
        match change:
            case Scaled():
                return partial(torch.mul, other=self._tensor(change.factors))
            case Replacement():
                return self._replacing(change, span)
            case Added():
                return self._adding(change)
            case RankOne():
                return self._rank_one(change)
            case ProjectedOut():
                unit = self._unit(change.direction)
                return lambda tensor: _projected(tensor, unit)
            case RowsWritten():
                return written_rows(change, span, self._device)

    def _replacing(self, change: Replacement, span: Span) -> _Change:
        columns, values = torch.from_numpy(change.columns).to(self._device), self._tensor(change.values)
        if values.dim() == 2:
            last = len(change.values) - 1
            values = values[torch.from_numpy(np.minimum(span.positions, last)).to(self._device)]
        where = torch.zeros(change.width, dtype=torch.bool, device=self._device)
        where[columns] = True
        spread = values.new_zeros(*values.shape[:-1], change.width)
        spread[..., columns] = values
        return Replaced(None, where, spread)

    def _adding(self, change: Added) -> _Change:
        if change.unit == "direction":
            return partial(torch.add, other=self._tensor(change.direction) * change.amount)
        unit = self._unit(change.direction)
        if change.unit == "norm":
            return partial(torch.add, other=(unit * change.amount).to(self._dtype))

        def added(tensor: Tensor) -> Tensor:
            exact = tensor.float()
            return torch.addcmul(exact, exact.norm(dim=-1, keepdim=True), unit, value=change.amount).to(tensor.dtype)

        return added

    def _rank_one(self, change: RankOne) -> _Change:
        key = torch.from_numpy(np.ascontiguousarray(change.key)).to(self._device)
        value = torch.from_numpy(np.ascontiguousarray(change.value)).to(self._device) * change.amount
        d_model = len(change.value)

        def edited(out_and_in: Tensor) -> Tensor:
            written, read = out_and_in[..., :d_model], out_and_in[..., d_model:]
            added = (read.float() @ key)[..., None] * value
            return torch.cat([written + added.to(written.dtype), read], dim=-1)

        return edited

    def _unit(self, direction: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Tensor:
        """float32, of length one."""
        exact = torch.from_numpy(direction).double()
        unit: Tensor = exact / exact.norm()
        return unit.float().to(self._device)

    def _tensor(self, array: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Tensor:
        """On the device, in the model's precision; made once."""
        made = self._made.get(id(array))
        if made is None:
            made = torch.from_numpy(np.ascontiguousarray(array)).to(device=self._device, dtype=self._dtype)
            self._made[id(array)] = made
        return made


def _projected(tensor: Tensor, unit: Tensor) -> Tensor:
    exact = tensor.float()
    rest: Tensor = exact - (exact @ unit)[..., None] * unit
    return rest.to(tensor.dtype)


def placed_operations(
    rows: Sequence[Sequence[Operation]], *, device: torch.device, dtype: torch.dtype
) -> PlacedOperations | None:
    """None where no row has any."""
    return PlacedOperations(rows, device=device, dtype=dtype) if any(rows) else None
