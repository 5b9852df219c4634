"""Normalisation with its denominator frozen: then it is linear, and a sum goes through it term by term.

Freezing the final norm's scale is the usual linearisation of direct logit attribution (Elhage et al.
2021, "A Mathematical Framework for Transformer Circuits"; TransformerLens `apply_ln_to_stack`): the
scale is that of the whole residual stream at this position, so the terms still sum exactly.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class NormWeights:
    """A LayerNorm (`is_centred`) or RMSNorm: gain [..., d_model], bias likewise or none."""

    gain: Tensor
    bias: Tensor | None
    is_centred: bool
    eps: float

    def scale(self, stream: Tensor) -> Tensor:
        """What the norm divides `stream` [..., d_model] by: [..., 1]."""
        centred = stream - stream.mean(-1, keepdim=True) if self.is_centred else stream
        return (centred.square().mean(-1, keepdim=True) + self.eps).sqrt()

    def apply(self, stream: Tensor) -> Tensor:
        """The norm itself: [..., d_model] to [..., d_model]."""
        centred = stream - stream.mean(-1, keepdim=True) if self.is_centred else stream
        normed = centred / self.scale(stream) * self.gain
        return normed if self.bias is None else normed + self.bias

    def push(self, terms: Tensor, stream: Tensor) -> Tensor:
        """`terms` [..., d_model], parts of `stream`, through the norm with its scale frozen, bias apart.

        The terms of a sum that is `stream` add up to `apply(stream)` less the bias.
        """
        centred = terms - terms.mean(-1, keepdim=True) if self.is_centred else terms
        pushed: Tensor = centred / self.scale(stream) * self.gain
        return pushed

    def frozen(self, stream: Tensor) -> Tensor:
        """`apply`, of which only the linear part has gradients: the scale is a constant."""
        pushed = self.push(stream, stream.detach())
        return pushed if self.bias is None else pushed + self.bias

    def pull_back(self, direction: Tensor, stream: Tensor) -> Tensor:
        """The vector w with `norm(stream) . direction = stream . w + bias . direction`, scale frozen.

        direction, stream and w: [..., d_model]. Any part of `stream` contributes its own dot with w.
        """
        return self.through_gain(direction) / self.scale(stream)

    def through_gain(self, direction: Tensor) -> Tensor:
        """What of `pull_back` is the same for every stream: all but the scale."""
        through_gain = direction * self.gain
        return through_gain - through_gain.mean(-1, keepdim=True) if self.is_centred else through_gain

    def bias_along(self, direction: Tensor) -> Tensor:
        """The norm's bias along `direction` [..., d_model]: [...]."""
        if self.bias is None:
            return direction.new_zeros(direction.shape[:-1])
        return (direction * self.bias).sum(-1)
