"""Live causal: the strongest directly attributed components of a new token, each zeroed and measured as it is made.

The direct contribution of a component (direct_logit) is what it writes straight to the logits; what its absence
really does, downstream layers included, is measured by one more forward call over the run's own cache.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from livelens.model.engine import F32, Captured, CausalEffects, DirectLogit
from livelens.protocol.messages import CAUSAL_KINDS, Component
from livelens.run.jobs import Arrays

# So many rows cost about what one token does; twice as many would be seen in the speed of the text.
N_COMPONENTS: Final = 8


def strongest_components(direct: DirectLogit, k: int) -> tuple[list[Component], F32]:
    """The k heads and MLPs with the largest |direct contribution|, largest first, and the contributions [k]."""
    n_layers, n_heads = direct.heads.shape
    contributions = np.concatenate([direct.heads.ravel(), direct.mlps])
    order = np.argsort(-np.abs(contributions), kind="stable")[:k]
    components = [
        Component(kind="head", layer=place // n_heads, index=place % n_heads)
        if place < n_layers * n_heads
        else Component(kind="mlp", layer=place - n_layers * n_heads)
        for place in order.tolist()
    ]
    return components, contributions[order]


def causal_effects(captured: Captured, direct: DirectLogit) -> CausalEffects:
    """The strongest components of the newest position, measured. Raises what `Captured.measured_effects` raises."""
    components, attributed = strongest_components(direct, N_COMPONENTS)
    target_id, distractor_id = direct.target_id, direct.distractor_id
    return CausalEffects(
        target_id=target_id,
        distractor_id=distractor_id,
        components=tuple(components),
        attributed=attributed,
        measured=captured.measured_effects(components, target_id=target_id, distractor_id=distractor_id),
    )


def causal_arrays(causal: CausalEffects) -> Arrays:
    """The arrays on the wire (`StepTensors` says dtype and shape of each)."""
    parts = causal.components
    return {
        "causal_kind": np.array([CAUSAL_KINDS.index(part.kind) for part in parts], np.uint8),
        "causal_layer": np.array([part.layer for part in parts], np.uint16),
        "causal_index": np.array([part.index for part in parts], np.uint32),
        "causal_attributed": causal.attributed,
        "causal_measured": causal.measured,
    }
