"""What a run computed at some sites, for interventions that put these values into another run."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from livelens.model.caches import new_cache
from livelens.model.capture import CaptureSite
from livelens.model.engine import AnalysisContext
from livelens.model.operations import F32, Place
from livelens.model.replay import ModelParts, replay


@torch.inference_mode()
def values_of(parts: ModelParts, context: AnalysisContext, places: Sequence[Place]) -> dict[Place, F32]:
    """[n_positions, width] of each place, float32; sites z, neurons, attn_out and mlp_out. Raises EngineError."""
    sites: frozenset[CaptureSite] = frozenset(site for site, _ in places)
    found: dict[Place, list[Tensor]] = {place: [] for place in places}
    token_ids = context.token_ids[: context.n_positions]
    for piece in replay(parts, token_ids, context.segments, cache=new_cache(), sites=sites):
        for (site, layer), rows in found.items():
            captured = piece.tensors[site][layer]
            if captured is None:
                raise RuntimeError(f"{site} of layer {layer} was not captured")
            rows.append(captured[0].float().cpu())
    return {place: torch.cat(rows).numpy() for place, rows in found.items()}
