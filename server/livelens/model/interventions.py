"""InterventionSpec to masks: one factor per component, multiplied into the forward pass.

A mask is a tensor rather than a branch, so a thousand ablated neurons cost what one costs, two runs
on one model do not see each other, and rows of a batch can differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from livelens.protocol.components import check_component
from livelens.protocol.messages import InterventionSpec, ModelInfo

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InterventionMasks:
    """Factors by component; a layer that is absent is untouched.

    heads: layer -> [n_heads], on hook_z. neurons: layer -> [d_mlp], on mlp.out.hook_in.
    attn, mlp: layer -> factor on what the whole layer writes, biases included.
    """

    heads: dict[int, F32] = field(default_factory=dict)
    neurons: dict[int, F32] = field(default_factory=dict)
    attn: dict[int, float] = field(default_factory=dict)
    mlp: dict[int, float] = field(default_factory=dict)

    @property
    def changes_nothing(self) -> bool:
        """No component is touched."""
        return not (self.heads or self.neurons or self.attn or self.mlp)


def check_interventions(interventions: Sequence[InterventionSpec], model_info: ModelInfo) -> None:
    """Raise ValueError, naming the component and the limit, when one does not fit the model."""
    seen: set[str] = set()
    for spec in interventions:
        if spec.intervention_id in seen:
            raise ValueError(f"intervention_id {spec.intervention_id!r} is used twice: ids must differ within a set")
        seen.add(spec.intervention_id)
        if spec.operation not in model_info.capabilities.operations:
            raise ValueError(f"this model cannot do operation {spec.operation!r}")
        for component in spec.components:
            try:
                check_component(component, model_info)
            except ValueError as error:
                raise ValueError(f"intervention {spec.intervention_id!r}: {error}") from error


def masks_from(interventions: Sequence[InterventionSpec], model_info: ModelInfo) -> InterventionMasks:
    """The masks of the enabled interventions; factors on one component multiply.

    Raises ValueError like `check_interventions`.
    """
    check_interventions(interventions, model_info)
    masks = InterventionMasks()
    for spec in interventions:
        if not spec.enabled:
            continue
        factor = 0.0 if spec.operation == "zero" else spec.amount
        for component in spec.components:
            layer, index = component.layer, component.index
            match component.kind:
                case "head":
                    row = masks.heads.setdefault(layer, np.ones(model_info.n_heads, np.float32))
                    row[index] *= np.float32(factor)
                case "neuron":
                    row = masks.neurons.setdefault(layer, np.ones(model_info.d_mlp, np.float32))
                    row[index] *= np.float32(factor)
                case "attn":
                    masks.attn[layer] = masks.attn.get(layer, 1.0) * factor
                case "mlp":
                    masks.mlp[layer] = masks.mlp.get(layer, 1.0) * factor
    return masks
