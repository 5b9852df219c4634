"""A model's output end (final norm, unembedding, soft cap) and the weights that explain what it reads.

`Readout.check` compares all of it with one real forward call, so that what a model cannot give is
declared in its capabilities rather than shown wrong.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from livelens.analysis.direct_logit import head_write_factors
from livelens.analysis.norms import NormWeights
from livelens.model.anatomy import Anatomy, bias_of, weight_in_out
from livelens.model.direction_rows import DirectionRows
from livelens.model.threads import wide


class Readout:
    """Final norm to logits. `logit_scale` is what some families multiply their logits by.

    `n_blocks`: how many equal blocks of vocabulary the unembedding is multiplied in; 1 is the whole. On
    a CPU one product per block, all in one call, reads the weights once at the speed of memory; the
    same product as a whole takes twice as long there, for one row and for thirty.
    """

    def __init__(self, anatomy: Anatomy, *, logit_scale: float) -> None:
        self.anatomy = anatomy
        self.logit_scale = logit_scale
        unembed = anatomy.unembed
        self.n_blocks = 1
        if isinstance(unembed, nn.Linear) and unembed.weight.device.type == "cpu":
            self.n_blocks = _n_blocks(unembed.out_features) if unembed.weight.dtype == torch.float32 else 1

    def logits(self, normed: Tensor) -> Tensor:
        """The logits the sampler sees, float32 [n_rows, d_vocab], from the normed stream [n_rows, d_model]."""
        if self.n_blocks == 1:
            return self._finished(self.anatomy.unembed(normed).float())
        blocks = normed.new_empty(self.n_blocks, len(normed), self.anatomy.shape.d_vocab // self.n_blocks)
        with wide():
            self.logit_blocks(normed, out=blocks)
        return blocks.transpose(0, 1).reshape(len(normed), -1)

    def logit_blocks(self, normed: Tensor, *, out: Tensor) -> None:
        """Write the logits into `out` [n_blocks, n_rows, d_vocab / n_blocks]: token `t` in block `t // width`."""
        unembed = self.anatomy.unembed
        if self.n_blocks == 1 or not isinstance(unembed.weight, Tensor):
            out.copy_(self.logits(normed)[None])
            return
        weight_blocks = unembed.weight.view(self.n_blocks, -1, normed.shape[-1]).transpose(1, 2)
        torch.bmm(normed.expand(self.n_blocks, -1, -1), weight_blocks, out=out)
        bias = bias_of(unembed)
        if bias is not None:
            out += bias.view(self.n_blocks, 1, -1)
        self._finished(out)

    def _finished(self, raw: Tensor) -> Tensor:
        """Scale and soft cap, in place."""
        if self.logit_scale != 1.0:
            raw *= self.logit_scale
        cap = self.anatomy.shape.soft_cap
        return raw if cap is None else raw.div_(cap).tanh_().mul_(cap)


def _n_blocks(d_vocab: int) -> int:
    """How many equal blocks of some hundred rows a vocabulary divides into; 1 where it does not."""
    return next((n for n in range(d_vocab // 256, 7, -1) if d_vocab % n == 0 and d_vocab // n <= 4096), 1)


class WriteWeights:
    """The matrices that heads and neurons write through, in the shapes that attribution wants."""

    def __init__(self, anatomy: Anatomy, *, may_move: bool = True) -> None:
        """may_move: the weights may be put into one stack; not where somebody else holds them too."""
        layers = anatomy.layers
        shape = anatomy.shape
        self.head_output = _gathered([layer.attention_output for layer in layers], may_move)
        self.head_bias = _stacked([bias_of(layer.attention_output) for layer in layers])
        outputs = [layer.mlp_output for layer in layers]
        self.neuron_output = (
            None if None in outputs else _gathered([out for out in outputs if out is not None], may_move)
        )
        factors = [head_write_factors(weight.float(), n_heads=shape.n_heads) for weight in self.head_output]
        # A row times a matrix goes seven times as fast as the matrix times a column.
        self._head_factors = torch.stack(factors).transpose(-1, -2).contiguous()
        unembed = anatomy.unembed.weight
        if not isinstance(unembed, Tensor):
            raise TypeError("the unembedding has no weight")
        self.unembed = unembed.detach()
        self.unembed_bias = bias_of(anatomy.unembed)
        self.unembed_mean = self.unembed.mean(0, dtype=torch.float32)
        self.final_norm = anatomy.norm_weights(anatomy.final_norm)
        self.attention_post_norms = _stacked_norms(anatomy, [layer.attention_post_norm for layer in layers])
        self.mlp_post_norms = _stacked_norms(anatomy, [layer.mlp_post_norm for layer in layers])
        # A norm behind a layer's output has a scale of its own at every position: nothing to be kept.
        has_post_norms = self.attention_post_norms is not None or self.mlp_post_norms is not None
        self.direction_rows = (
            None
            if self.neuron_output is None or has_post_norms
            else DirectionRows(
                self.head_output,
                self.neuron_output,
                unembed=self.unembed,
                unembed_mean=self.unembed_mean,
                final_norm=self.final_norm,
                may_keep=may_move,
            )
        )

    def head_norms(self, z: Tensor) -> Tensor:
        """The norm of what each head writes: z [n_layers, n_heads, d_head], float32, to [n_layers, n_heads]."""
        written = z[..., None, :] @ self._head_factors
        norms: Tensor = written[..., 0, :].norm(dim=-1)
        return norms


def _gathered(modules: list[nn.Module], may_move: bool) -> Tensor | list[Tensor]:
    """Every layer's weight as [n_rows, d_model]: views of one stacked tensor, where they can be.

    The parameters are moved into the stack and become views of it, so there is still one copy of them;
    layers on several devices, of different shapes, or not to be moved, stay where they are and come as a list.
    """
    if not may_move:
        return [weight_in_out(module) for module in modules]
    parameters = [module.weight for module in modules]
    first = parameters[0]
    alike = [
        parameter
        for parameter in parameters
        if isinstance(parameter, nn.Parameter)
        and isinstance(first, nn.Parameter)
        and (parameter.shape, parameter.dtype, parameter.device) == (first.shape, first.dtype, first.device)
    ]
    if len(alike) < len(modules):
        return [weight_in_out(module) for module in modules]
    stack = alike[0].data.new_empty(len(alike), *alike[0].shape)
    for place, parameter in zip(stack, alike, strict=True):
        place.copy_(parameter.data)
        parameter.data = place
    return stack if isinstance(modules[0], Conv1D) else stack.transpose(1, 2)


def _stacked(biases: list[Tensor | None]) -> Tensor | None:
    """[n_layers, d_model] float32; none where the layers have none."""
    here = [bias.float() for bias in biases if bias is not None]
    return torch.stack(here) if len(here) == len(biases) else None


def _stacked_norms(anatomy: Anatomy, norms: list[nn.Module | None]) -> NormWeights | None:
    """All layers' norms as one, gain [n_layers, d_model]; none where the model has none there."""
    each = [anatomy.norm_weights(norm) for norm in norms if norm is not None]
    if len(each) != len(norms):
        return None
    return NormWeights(
        gain=torch.stack([norm.gain for norm in each]),
        bias=_stacked([norm.bias for norm in each]),
        is_centred=each[0].is_centred,
        eps=each[0].eps,
    )
