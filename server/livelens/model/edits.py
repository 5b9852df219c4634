"""InterventionMasks as torch tensors at the places where a forward call applies them.

Each edit is a function of the tensor at one site of one layer, for the whole batch: `[batch, pos, ...]`
in, the same out. Zero and scale are factors `[batch, 1, ...]`; other operations (mean, set, a direction
added to the stream, attention weights) are further edits at the same sites, or at new ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from livelens.model.bridge import ModelShape
from livelens.model.interventions import F32, InterventionMasks

EditSite = Literal["z", "neurons", "attn_out", "mlp_out"]
Edit = Callable[[Tensor], Tensor]


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

    attn_factors, mlp_factors: layer -> [batch], for what explains the result afterwards.
    """

    edits: dict[tuple[EditSite, int], Edit] = field(default_factory=dict)
    attn_factors: dict[int, Tensor] = field(default_factory=dict)
    mlp_factors: dict[int, Tensor] = field(default_factory=dict)

    def at(self, site: EditSite, layer: int) -> Edit | None:
        """The edit at one site, none where nothing is changed."""
        return self.edits.get((site, layer))


NO_EDITS = SiteEdits()


def edits_from(
    rows: Sequence[InterventionMasks | None], *, shape: ModelShape, device: torch.device, dtype: torch.dtype
) -> SiteEdits:
    """The edits of one forward call whose batch row i is under `rows[i]`; none leaves a row alone."""
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
    return edits
