"""direct_logit of one captured position: the residual stream's terms along one direction of the output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from livelens.analysis.direct_logit import along_rows, strongest, unembed_direction
from livelens.analysis.norms import NormWeights
from livelens.model.edits import SiteEdits
from livelens.model.engine import DirectLogit
from livelens.model.readout import WriteWeights
from livelens.model.threads import wide

STRONGEST_NEURONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class PositionWrites:
    """What one position wrote, float32: embed [d_model] (the stream before layer 0), stream [d_model]
    (after the last layer), z [n_layers, n_heads, d_head], neurons [n_layers, d_mlp], mlp_out [n_layers,
    d_model]; attn_raw and mlp_raw [n_layers, d_model] only in models with a norm after them.
    """

    embed: Tensor
    stream: Tensor
    z: Tensor
    neurons: Tensor
    mlp_out: Tensor
    attn_raw: Tensor | None
    mlp_raw: Tensor | None


def explain(
    writes: PositionWrites,
    weights: WriteWeights,
    *,
    target_id: int,
    distractor_id: int | None,
    logit_scale: float,
    edits: SiteEdits,
    row: int,
) -> DirectLogit:
    """Every component's direct contribution to `logit(target) - logit(distractor)`, soft cap apart.

    distractor_id none: the mean of all logits. Norms are frozen at this position's scale; edits of
    whole layers count (a switched-off layer contributes nothing). Batch row `row` of the edits.
    """
    away = unembed_direction(weights.unembed, weights.unembed_mean, target_id=target_id, distractor_id=distractor_id)
    direction = away * logit_scale
    through_norm = weights.final_norm.pull_back(direction, writes.stream)
    heads, biases = _attention_terms(writes, weights, through_norm, edits, row)
    neurons = _neuron_terms(writes, weights, through_norm, edits, row)
    indices, values = strongest(neurons, STRONGEST_NEURONS)
    final_bias = weights.final_norm.bias_along(direction) + logit_scale * _unembed_bias(
        weights, target_id, distractor_id
    )
    total = weights.final_norm.apply(writes.stream) @ direction + (
        final_bias - weights.final_norm.bias_along(direction)
    )
    n_neurons = neurons.shape[-1]
    return DirectLogit(
        target_id=target_id,
        distractor_id=distractor_id,
        heads=heads.cpu().numpy(),
        mlps=(writes.mlp_out @ through_norm).cpu().numpy(),
        attn_bias=biases.cpu().numpy(),
        embed=float(writes.embed @ through_norm),
        final_bias=float(final_bias),
        total=float(total),
        neuron_layer=(indices // n_neurons).cpu().numpy().astype(np.int32),
        neuron_index=(indices % n_neurons).cpu().numpy().astype(np.int32),
        neuron_value=values.cpu().numpy(),
    )


def _through(norms: NormWeights | None, direction: Tensor, raw: Tensor | None) -> Tensor:
    """The direction in front of each layer's post norm: [n_layers, d_model], or as it is where there is none."""
    return direction if norms is None or raw is None else norms.pull_back(direction, raw)


def _layer_factors(factors: dict[int, Tensor], row: int, like: Tensor) -> Tensor | None:
    """[n_layers, 1]: what whole layers' writes were scaled by; none where none was."""
    if not factors:
        return None
    scale = like.new_ones(len(like), 1)
    for layer, factor in factors.items():
        scale[layer] = factor[row]
    return scale


def _attention_terms(
    writes: PositionWrites, weights: WriteWeights, direction: Tensor, edits: SiteEdits, row: int
) -> tuple[Tensor, Tensor]:
    """Contributions of the heads [n_layers, n_heads] and of the attention biases [n_layers]."""
    norms = weights.attention_post_norms
    along = _through(norms, direction, writes.attn_raw)
    with wide():
        rows = along_rows(weights.head_output, along)
    heads = (writes.z * rows.view_as(writes.z)).sum(-1)
    biases = heads.new_zeros(len(heads)) if weights.head_bias is None else (weights.head_bias * along).sum(-1)
    if norms is not None:
        biases = biases + norms.bias_along(direction.expand_as(norms.gain))
    scale = _layer_factors(edits.attn_factors, row, heads)
    return (heads, biases) if scale is None else (heads * scale, biases * scale[:, 0])


def _neuron_terms(
    writes: PositionWrites, weights: WriteWeights, direction: Tensor, edits: SiteEdits, row: int
) -> Tensor:
    """Contributions of the neurons [n_layers, d_mlp]."""
    if weights.neuron_output is None:
        raise RuntimeError("this model's neurons have no single output matrix")
    along = _through(weights.mlp_post_norms, direction, writes.mlp_raw)
    with wide():
        rows = along_rows(weights.neuron_output, along)
    terms = rows.mul_(writes.neurons)
    scale = _layer_factors(edits.mlp_factors, row, terms)
    return terms if scale is None else terms * scale


def _unembed_bias(weights: WriteWeights, target_id: int, distractor_id: int | None) -> Tensor:
    bias = weights.unembed_bias
    if bias is None:
        return weights.unembed_mean.new_zeros(())
    away_from = bias.float().mean() if distractor_id is None else bias[distractor_id].float()
    return bias[target_id].float() - away_from
