"""Direct logit attribution: what each component adds to a logit through the residual stream alone.

With the final norm's scale frozen, `logit = w . resid_final + bias`, and the residual stream is a sum
of what embedding, heads, MLPs and biases wrote, so each one's dot with `w` is its contribution
(Elhage et al. 2021; checked against the logit itself, see tests/model/test_truth.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def unembed_direction(unembed: Tensor, mean_row: Tensor, *, target_id: int, distractor_id: int | None) -> Tensor:
    """The direction [d_model] whose dot with the normed stream is the metric, biases apart.

    unembed: W_U as [d_vocab, d_model]; mean_row: its mean over the vocabulary, which stands for "the
    mean of all logits" where there is no distractor.
    """
    away_from = mean_row if distractor_id is None else unembed[distractor_id].float()
    return unembed[target_id].float() - away_from


def along_rows(output_weights: Tensor | Sequence[Tensor], directions: Tensor) -> Tensor:
    """[n_layers, n, n_rows]: every row of each layer's output matrix along each of that layer's directions.

    output_weights: W_O or W_out of each layer as [n_rows, d_model], stacked (fastest: one call that reads
    them once) or one by one; directions: [n_layers, n, d_model], float32. Weights of lower precision are
    widened layer by layer, so that terms still add up.
    """
    if isinstance(output_weights, Tensor) and output_weights.dtype == directions.dtype:
        return torch.bmm(directions, output_weights.transpose(1, 2))
    each = [rows @ weight.to(directions.dtype).T for weight, rows in zip(output_weights, directions, strict=True)]
    return torch.stack(each)


def strongest(contributions: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Flat indices and values of the k largest magnitudes, largest first. Any shape in, [k] out."""
    flat = contributions.flatten()
    indices = flat.abs().topk(min(k, flat.numel())).indices
    return indices, flat[indices]


def head_write_factors(output_weight: Tensor, *, n_heads: int) -> Tensor:
    """R [n_heads, d_head, d_head] with `|R z| = |z @ W_O[head]|` for every z: the R of a QR.

    As exact as the product itself (a Gram matrix would square the rounding), at d_head/d_model of its
    cost. output_weight: W_O as [n_heads * d_head, d_model], float32.
    """
    per_head = output_weight.reshape(n_heads, -1, output_weight.shape[-1])
    factors: Tensor = torch.linalg.qr(per_head.transpose(1, 2), mode="r").R
    return factors
