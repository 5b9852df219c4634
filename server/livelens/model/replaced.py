"""The edits that put values in the place of others: ablations, set, mean, resample, patches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from livelens.model.operations import Span


class Edit(Protocol):
    """A function of the tensor at one site, for the whole batch."""

    def __call__(self, tensor: Tensor, /) -> Tensor:
        """[batch, pos, ...] in, the same out."""


@runtime_checkable
class BindableEdit(Edit, Protocol):
    """An edit that depends on the positions of the forward call."""

    def bound(self, span: Span) -> Edit | None:
        """The edit of these positions; none where it changes nothing there."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """`before` (the run's own edit), then `value` wherever `where` [batch or 1, pos or 1, width] says so.

    value: [width], [pos, width] or a scalar.
    """

    before: Edit | None
    where: Tensor
    value: Tensor

    def __call__(self, tensor: Tensor) -> Tensor:
        """The tensor [batch, pos, width], replaced in part."""
        changed = tensor if self.before is None else self.before(tensor)
        return torch.where(self.where, self.value.to(changed.dtype), changed)

    def bound(self, span: Span) -> Edit:
        """With `before` bound to a forward call's positions."""
        before = self.before
        return replace(self, before=before.bound(span)) if isinstance(before, BindableEdit) else self


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """A value of one batch row: at `positions`, in `columns` of the width; a scalar, or [position, width]."""

    row: int
    columns: slice
    value: Tensor | float
    positions: slice


def planted(tensor: Tensor, plants: Sequence[Plant]) -> Tensor:
    """`tensor` [row, position, width], changed in place."""
    for plant in plants:
        value = plant.value.to(tensor.dtype) if isinstance(plant.value, Tensor) else plant.value
        tensor[plant.row, plant.positions, plant.columns] = value
    return tensor


@dataclass(frozen=True, slots=True)
class Planted:
    """`before` (the run's own edit), then these values in the rows that they belong to."""

    before: Edit | None
    plants: Sequence[Plant]

    def __call__(self, tensor: Tensor) -> Tensor:
        """The tensor [row, position, width], replaced in part; of rows that there are at its layer."""
        return planted(tensor.clone() if self.before is None else self.before(tensor).clone(), self.plants)
