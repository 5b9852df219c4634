"""InterventionMasks as torch tensors at the places where a forward call applies them.

Each edit is a function of the tensor at one site of one layer, for the whole batch: `[batch, pos, ...]`
in, the same out. Zero and scale are factors `[batch, 1, ...]`; what depends on the position is laid over
one forward call's positions by `SiteEdits.bound` (`placed_edits.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from livelens.model.bridge import ModelShape
from livelens.model.interventions import InterventionMasks
from livelens.model.operations import F32, EditSite, Place, Span
from livelens.model.placed_edits import PlacedOperations, placed_operations
from livelens.model.replaced import BindableEdit, Edit

__all__ = ["NO_EDITS", "Edit", "EditSite", "Factor", "Place", "SiteEdits", "edits_from"]


@dataclass(frozen=True, slots=True)
class Factor:
    """Multiply by `factor` [batch, 1, width or 1]."""

    factor: Tensor

    def __call__(self, tensor: Tensor) -> Tensor:
        """The tensor [batch, pos, width], scaled."""
        return tensor * self.factor


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteEdits:
    """Every edit of one forward call, and the factors that whole layers' writes were scaled by.

    attn_factors, mlp_factors: layer -> [batch], or [batch, pos] once bound, for what explains the result
    afterwards; 0 where a layer's write was replaced. placed: what is bound to positions, none where nothing is.
    """

    edits: dict[Place, Edit] = field(default_factory=dict)
    attn_factors: dict[int, Tensor] = field(default_factory=dict)
    mlp_factors: dict[int, Tensor] = field(default_factory=dict)
    placed: PlacedOperations | None = None

    def at(self, site: EditSite, layer: int) -> Edit | None:
        """The edit at one site, none where nothing is changed."""
        return self.edits.get((site, layer))

    @property
    def layers(self) -> dict[EditSite, frozenset[int]]:
        """The layers that are edited, by site."""
        sites: dict[EditSite, set[int]] = {}
        for site, layer in self.edits:
            sites.setdefault(site, set()).add(layer)
        return {site: frozenset(layers) for site, layers in sites.items()}

    def bound(self, span: Span) -> SiteEdits:
        """The edits of the forward call over these positions; itself where none depends on them."""
        if self.placed is None:
            return self
        edits = {
            place: changed
            for place, edit in self.edits.items()
            if (changed := edit.bound(span) if isinstance(edit, BindableEdit) else edit) is not None
        }
        attn, mlp = dict(self.attn_factors), dict(self.mlp_factors)
        for (site, layer), factor in self.placed.layer_factors(span).items():
            held = attn if site == "attn_out" else mlp
            held[layer] = factor if layer not in held else held[layer].reshape(-1, 1) * factor
        return replace(self, edits=edits, attn_factors=attn, mlp_factors=mlp, placed=None)


NO_EDITS = SiteEdits()


@dataclass(frozen=True, slots=True)
class _Chain:
    """`before` (factors), then the operations on this place."""

    before: Edit | None
    place: Place
    placed: PlacedOperations

    def __call__(self, tensor: Tensor) -> Tensor:
        raise RuntimeError("an edit that depends on positions was not bound to a forward call's")

    def bound(self, span: Span) -> Edit | None:
        acting = self.placed.at(self.place, span)
        return self.before if acting is None else _Both(self.before, acting)


@dataclass(frozen=True, slots=True)
class _Both:
    """One edit, then another."""

    before: Edit | None
    after: Edit

    def __call__(self, tensor: Tensor) -> Tensor:
        return self.after(tensor if self.before is None else self.before(tensor))


def edits_from(
    rows: Sequence[InterventionMasks | None], *, shape: ModelShape, device: torch.device, dtype: torch.dtype
) -> SiteEdits:
    """The edits of one forward call whose batch row i is under `rows[i]`; none leaves a row alone.

    One row's edits hold for any number of rows.
    """
    if all(masks is None or masks.changes_nothing for masks in rows):
        return NO_EDITS
    plain = InterventionMasks()
    masks_of_rows = [plain if masks is None else masks for masks in rows]
    edits = SiteEdits()

    def add(site: EditSite, layer: int, factors: list[F32]) -> Tensor:
        factor = torch.from_numpy(np.stack(factors)).to(device=device, dtype=dtype)[:, None, :]
        edits.edits[site, layer] = Factor(factor)
        return factor

    for layer in sorted({layer for masks in masks_of_rows for layer in masks.heads}):
        ones = np.ones(shape.n_heads, np.float32)
        add("z", layer, [np.repeat(masks.heads.get(layer, ones), shape.d_head) for masks in masks_of_rows])
    for layer in sorted({layer for masks in masks_of_rows for layer in masks.neurons}):
        ones = np.ones(shape.d_mlp, np.float32)
        add("neurons", layer, [masks.neurons.get(layer, ones) for masks in masks_of_rows])
    for layer in sorted({layer for masks in masks_of_rows for layer in masks.attn}):
        factors = [np.full(1, masks.attn.get(layer, 1.0), np.float32) for masks in masks_of_rows]
        edits.attn_factors[layer] = add("attn_out", layer, factors)[:, 0, 0].float()
    for layer in sorted({layer for masks in masks_of_rows for layer in masks.mlp}):
        factors = [np.full(1, masks.mlp.get(layer, 1.0), np.float32) for masks in masks_of_rows]
        edits.mlp_factors[layer] = add("mlp_out", layer, factors)[:, 0, 0].float()
    placed = placed_operations([masks.operations for masks in masks_of_rows], device=device, dtype=dtype)
    if placed is None:
        return edits
    for place in placed.places:
        edits.edits[place] = _Chain(edits.edits.get(place), place, placed)
    return replace(edits, placed=placed)


class Segment(Protocol):
    """Masks that hold from one position until the next segment's; ascending, where there are several."""

    @property
    def from_pos(self) -> int:
        """The first position under them."""

    @property
    def masks(self) -> InterventionMasks | None:
        """None where they change nothing."""


@dataclass(frozen=True, slots=True)
class _ByPosition:
    """Each of `parts` (start, stop, edit) applied to its own positions of a forward call."""

    parts: list[tuple[int, int, Edit]]

    def __call__(self, tensor: Tensor) -> Tensor:
        pieces: list[Tensor] = []
        done, axis = 0, tensor.dim() - 2  # a pattern has its heads before its queries
        for start, stop, change in self.parts:
            pieces += [tensor.narrow(axis, done, start - done), change(tensor.narrow(axis, start, stop - start))]
            done = stop
        return torch.cat([*pieces, tensor.narrow(axis, done, tensor.shape[axis] - done)], dim=axis)


def edits_by_position(
    segments: Sequence[Segment], span: Span, *, shape: ModelShape, device: torch.device, dtype: torch.dtype
) -> SiteEdits:
    """The edits of one forward call over `span`, each position under its own segment's masks; bound.

    segments: ascending by from_pos; positions before the first are under none.
    """
    end = span.start + span.n_positions
    bounds = [*(segment.from_pos for segment in segments[1:]), end]
    parts: list[tuple[int, int, SiteEdits]] = []
    for segment, next_from in zip(segments, bounds, strict=True) if segments else ():
        start, stop = max(segment.from_pos, span.start), min(next_from, end)
        if start < stop:
            inside = Span(start, span.token_ids[start - span.start : stop - span.start])
            edits = edits_from([segment.masks], shape=shape, device=device, dtype=dtype).bound(inside)
            parts.append((start - span.start, stop - span.start, edits))
    joined = SiteEdits()
    for site, layer in sorted({key for _, _, edits in parts for key in edits.edits}):
        joined.edits[site, layer] = _ByPosition(
            [(start, stop, edit) for start, stop, edits in parts if (edit := edits.at(site, layer)) is not None]
        )
    return joined
