"""What attribution says of the very ablations that are measured."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from livelens.analysis.agreement import F32
from livelens.analysis.attribution import Attribution
from livelens.model.ablation import MeanOutputs, place_of, span_of
from livelens.protocol.messages import Component


def attributed_effects(
    attribution: Attribution, components: Sequence[Component], *, everywhere: bool, means: MeanOutputs | None
) -> F32:
    """[n] float32: what the linearised run says that ablating each component takes from the metric.

    `(output - what is put in) . gradient`, at the metric's position, or summed over all positions.
    """
    found: list[float] = []
    for component in components:
        output, gradient = _output_and_gradient(attribution, component)
        lost = output.detach()[0] if means is None else output.detach()[0] - means.at(place_of(component))
        terms = (lost * gradient)[:, span_of(component, attribution.run.anatomy)].double().sum(-1)
        found.append(float(terms.sum() if everywhere else terms[-1]))
    return np.array(found, np.float32)


def _output_and_gradient(attribution: Attribution, component: Component) -> tuple[Tensor, Tensor]:
    """Its site's values [1, pos, width], and the metric's gradient there [pos, width]."""
    at = component.layer
    layer = attribution.run.layers[at]
    match component.kind:
        case "head":
            return layer.z, attribution.z_gradient(at)
        case "neuron":
            return layer.neurons, attribution.neuron_gradient(at)
        case "attn":
            return layer.attn_out, attribution.attn_out_gradient(at)
        case "mlp":
            return layer.mlp_out, attribution.mlp_out_gradient(at)
