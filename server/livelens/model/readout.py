"""A model's output end (final norm, unembedding, soft cap) and the weights that explain what it reads.

`Readout.check` compares all of it with one real forward call, so that what a model cannot give is
declared in its capabilities rather than shown wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from livelens.analysis.direct_logit import head_write_factors
from livelens.model.anatomy import Anatomy, bias_of, weight_in_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Readout:
    """Final norm to logits. `logit_scale` is what some families multiply their logits by."""

    anatomy: Anatomy
    logit_scale: float

    def logits(self, normed: Tensor) -> Tensor:
        """The logits the sampler sees, float32 [..., d_vocab], from the normed stream [..., d_model]."""
        raw = self.anatomy.unembed(normed).float()
        if self.logit_scale != 1.0:
            raw = raw * self.logit_scale
        cap = self.anatomy.shape.soft_cap
        return raw if cap is None else torch.tanh(raw / cap) * cap

    def lens_logits(self, streams: Tensor) -> Tensor:
        """The logits that residual streams [n_rows, d_model] would give: [n_rows, d_vocab]."""
        return self.logits(self.anatomy.final_norm(streams))


class WriteWeights:
    """The matrices that heads and neurons write through, in the shapes that attribution wants."""

    def __init__(self, anatomy: Anatomy) -> None:
        layers = anatomy.layers
        shape = anatomy.shape
        self.head_output = [weight_in_out(layer.attention_output) for layer in layers]
        self.head_bias = [bias_of(layer.attention_output) for layer in layers]
        self.neuron_output = [None if layer.mlp_output is None else weight_in_out(layer.mlp_output) for layer in layers]
        self.head_factors = torch.stack(
            [head_write_factors(weight.float(), n_heads=shape.n_heads) for weight in self.head_output]
        )
        unembed = anatomy.unembed.weight
        if not isinstance(unembed, Tensor):
            raise TypeError("the unembedding has no weight")
        self.unembed = unembed.detach()
        self.unembed_bias = bias_of(anatomy.unembed)
        self.unembed_mean = self.unembed.mean(0, dtype=torch.float32)
        self.final_norm = anatomy.norm_weights(anatomy.final_norm)
        self.attention_post_norms = [
            None if layer.attention_post_norm is None else anatomy.norm_weights(layer.attention_post_norm)
            for layer in layers
        ]
        self.mlp_post_norms = [
            None if layer.mlp_post_norm is None else anatomy.norm_weights(layer.mlp_post_norm) for layer in layers
        ]
