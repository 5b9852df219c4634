"""direct_logit of captured positions: the residual stream's terms along one direction of the output."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
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
    d_model]; attn_raw and mlp_raw [n_layers, d_model] only in models with a norm after them. index: of the
    position in its forward call. Of interventions: attn_written, layer -> [d_model], what a whole layer's attention
    was made to write; w_o_added, layer -> [d_model], what an edit of W_O added to what W_O writes; stream_added,
    layer -> [d_model], what they added to the stream after it.
    """

    embed: Tensor
    stream: Tensor
    z: Tensor
    neurons: Tensor
    mlp_out: Tensor
    attn_raw: Tensor | None
    mlp_raw: Tensor | None
    index: int = 0
    attn_written: dict[int, Tensor] = field(default_factory=dict)
    stream_added: dict[int, Tensor] = field(default_factory=dict)
    w_o_added: dict[int, Tensor] = field(default_factory=dict)


def explain(
    positions: Sequence[PositionWrites],
    target_ids: Sequence[int],
    weights: WriteWeights,
    *,
    distractor_id: int | None,
    n_neurons: int | None = None,
    logit_scale: float,
    edits: SiteEdits,
    row: int,
) -> list[DirectLogit]:
    """Every component's direct contribution to `logit(target) - logit(distractor)`, soft cap apart, by position.

    distractor_id none: the mean of all logits. n_neurons: how many of the strongest neurons are told. Norms
    are frozen at each position's scale; edits of whole layers count (a switched-off layer contributes
    nothing). Batch row `row` of the edits. Several positions at once read the weights once.
    """
    if weights.neuron_output is None:
        raise RuntimeError("this model's neurons have no single output matrix")
    away = [
        unembed_direction(weights.unembed, weights.unembed_mean, target_id=target_id, distractor_id=distractor_id)
        for target_id in target_ids
    ]
    directions = [each * logit_scale for each in away]
    through = [
        weights.final_norm.pull_back(direction, writes.stream)
        for direction, writes in zip(directions, positions, strict=True)
    ]
    head_along = _along(weights.attention_post_norms, through, [writes.attn_raw for writes in positions], weights)
    rows = weights.direction_rows
    if rows is None:
        head_rows, neuron_rows = _read_rows(positions, weights, through, head_along)
    else:
        of_targets = rows.of(target_ids, distractor_id)
        scales = torch.stack([logit_scale / weights.final_norm.scale(writes.stream) for writes in positions])
        head_rows = torch.stack([each.heads for each in of_targets], dim=1) * scales
        neuron_rows = torch.stack([each.neurons for each in of_targets], dim=1) * scales
    made: list[DirectLogit] = []
    for n, (writes, direction, target_id) in enumerate(zip(positions, directions, target_ids, strict=True)):
        heads, biases = _attention_terms(writes, weights, through[n], head_along[:, n], head_rows[:, n], edits, row)
        neurons = neuron_rows[:, n] * writes.neurons
        scale = _layer_factors(edits.mlp_factors, row, writes.index, neurons)
        indices, values = strongest(
            neurons if scale is None else neurons * scale, min(n_neurons or STRONGEST_NEURONS, neurons.numel())
        )
        unembed_bias = logit_scale * _unembed_bias(weights, target_id, distractor_id)
        d_mlp = neurons.shape[-1]
        made.append(
            DirectLogit(
                target_id=target_id,
                distractor_id=distractor_id,
                heads=heads.cpu().numpy(),
                mlps=(writes.mlp_out @ through[n]).cpu().numpy(),
                attn_bias=biases.cpu().numpy(),
                embed=float(writes.embed @ through[n]),
                final_bias=float(weights.final_norm.bias_along(direction) + unembed_bias),
                total=float(weights.final_norm.apply(writes.stream) @ direction + unembed_bias),
                neuron_layer=(indices // d_mlp).cpu().numpy().astype(np.int32),
                neuron_index=(indices % d_mlp).cpu().numpy().astype(np.int32),
                neuron_value=values.cpu().numpy(),
            )
        )
    return made


def _read_rows(
    positions: Sequence[PositionWrites], weights: WriteWeights, through: Sequence[Tensor], head_along: Tensor
) -> tuple[Tensor, Tensor]:
    """W_O's and W_out's rows along each position's own directions: [n_layers, n, n_rows] each."""
    assert weights.neuron_output is not None
    neuron_along = _along(weights.mlp_post_norms, through, [writes.mlp_raw for writes in positions], weights)
    with wide():
        return along_rows(weights.head_output, head_along), along_rows(weights.neuron_output, neuron_along)


def _along(
    norms: NormWeights | None, through: Sequence[Tensor], raws: Sequence[Tensor | None], weights: WriteWeights
) -> Tensor:
    """[n_layers, n, d_model]: each position's direction in front of each layer's post norm, where there is one."""
    n_layers = len(weights.head_output)
    each = [
        direction.expand(n_layers, -1) if norms is None or raw is None else norms.pull_back(direction, raw)
        for direction, raw in zip(through, raws, strict=True)
    ]
    return torch.stack(each, dim=1)


def _layer_factors(factors: dict[int, Tensor], row: int, index: int, like: Tensor) -> Tensor | None:
    """[n_layers, 1]: what whole layers' writes were scaled by; none where none was."""
    if not factors:
        return None
    scale = like.new_ones(len(like), 1)
    for layer, factor in factors.items():
        scale[layer] = factor[row] if factor.dim() == 1 else factor[row, index]
    return scale


def _attention_terms(
    writes: PositionWrites,
    weights: WriteWeights,
    direction: Tensor,
    along: Tensor,
    rows: Tensor,
    edits: SiteEdits,
    row: int,
) -> tuple[Tensor, Tensor]:
    """Contributions of the heads [n_layers, n_heads] and of the attention biases [n_layers].

    direction: [d_model], along: [n_layers, d_model] in front of the post norms, rows: W_O along it.
    """
    norms = weights.attention_post_norms
    heads = (writes.z * rows.reshape(writes.z.shape)).sum(-1)
    biases = heads.new_zeros(len(heads)) if weights.head_bias is None else (weights.head_bias * along).sum(-1)
    if norms is not None:
        biases = biases + norms.bias_along(direction.expand_as(norms.gain))
    for layer, added in writes.w_o_added.items():
        biases[layer] += added @ along[layer]
    scale = _layer_factors(edits.attn_factors, row, writes.index, heads)
    if scale is not None:
        heads, biases = heads * scale, biases * scale[:, 0]
    # What interventions write has no head to be credited to: it goes with the biases.
    for layer, written in writes.attn_written.items():
        if scale is not None and float(scale[layer]) == 0:
            biases[layer] += written @ direction
    for layer, added in writes.stream_added.items():
        biases[layer] += added @ direction
    return heads, biases


def _unembed_bias(weights: WriteWeights, target_id: int, distractor_id: int | None) -> Tensor:
    bias = weights.unembed_bias
    if bias is None:
        return weights.unembed_mean.new_zeros(())
    away_from = bias.float().mean() if distractor_id is None else bias[distractor_id].float()
    return bias[target_id].float() - away_from
