"""Which neurons write most along a metric at one position: those worth measuring."""

from __future__ import annotations

from torch import Tensor

from livelens.analysis.direct_logit import along_rows
from livelens.analysis.norms import NormWeights
from livelens.model.capture import CaptureSite, stack
from livelens.model.replay import ModelParts, Piece

NEURON_SITES: frozenset[CaptureSite] = frozenset(("neurons", "mlp_raw"))


def direct_of_neurons(parts: ModelParts, piece: Piece, direction: Tensor) -> Tensor:
    """[n_layers, d_mlp]: each neuron's direct contribution along `direction` of the normed stream, last position.

    piece: captured with `neurons` and `mlp_raw`. What scales a whole layer's write is left out.
    """
    weights = parts.weights
    if weights.neuron_output is None:
        raise RuntimeError("this model's neurons have no single output matrix")

    def last(tensor: Tensor) -> Tensor:
        return tensor[0, -1]

    end = piece.tensors["resid"][-1]
    if end is None:
        raise RuntimeError("the last layer did not run")
    through = weights.final_norm.pull_back(direction, last(end).float())
    norms: NormWeights | None = weights.mlp_post_norms
    along = through.expand(len(weights.neuron_output), -1)
    if norms is not None:
        along = norms.pull_back(through, stack(piece.tensors["mlp_raw"], last))
    rows = along_rows(weights.neuron_output, along[:, None])[:, 0]
    return rows * stack(piece.tensors["neurons"], last)
