"""The logit lens: what each layer's residual stream would predict (nostalgebraist 2020)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitStatistics:
    """What rows of logits say. All [n_rows], natural logarithms; `rank` 0 is the top token."""

    token_id: Tensor
    prob: Tensor
    entropy: Tensor
    rank: Tensor
    logprob: Tensor


def logit_statistics(logits: Tensor, chosen_id: int) -> LogitStatistics:
    """Top token and its probability, entropy, and rank and log-probability of `chosen_id`, of each row.

    logits: [n_rows, d_vocab] float32. Equal logits share the better rank.
    """
    top, token_id = _largest(logits)
    # Few and in-place passes: for a lens of every layer these rows are as large as a layer's weights.
    shifted = logits - top[:, None]
    weights = shifted.exp()
    total = weights.sum(-1)
    # A logit of -inf has weight 0 and adds nothing; its product would be NaN.
    shifted.clamp_min_(torch.finfo(shifted.dtype).min)
    mean_shifted = torch.mul(weights, shifted, out=weights).sum(-1) / total
    chosen = logits[:, chosen_id]
    is_above = torch.gt(logits, chosen[:, None], out=shifted)
    return LogitStatistics(
        token_id=token_id,
        prob=1.0 / total,
        entropy=total.log() - mean_shifted,
        rank=is_above.sum(-1).long(),
        logprob=chosen - top - total.log(),
    )


def _largest(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Each row's largest value and its first index; by blocks, several times faster than `argmax`."""
    n_rows, n_columns = logits.shape
    n_blocks = next((n for n in (256, 128, 64, 32) if n_columns % n == 0), 0)
    if n_blocks == 0:
        values, indices = logits.max(dim=-1)
        return values, indices
    blocks = logits.view(n_rows, n_blocks, -1)
    values, best_block = blocks.amax(-1).max(-1)
    inside = blocks[torch.arange(n_rows, device=logits.device), best_block].argmax(-1)
    return values, best_block * blocks.shape[-1] + inside
