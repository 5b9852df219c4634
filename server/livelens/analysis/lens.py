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
    top, token_id = logits.max(dim=-1)
    shifted = logits - top[:, None]
    weights = shifted.exp()
    total = weights.sum(-1)
    log_total = total.log()
    chosen = logits[:, chosen_id]
    # A logit of -inf has weight 0 and adds nothing; its product would be NaN.
    mean_shifted = (weights * shifted.clamp_min_(torch.finfo(shifted.dtype).min)).sum(-1) / total
    return LogitStatistics(
        token_id=token_id,
        prob=1.0 / total,
        entropy=log_total - mean_shifted,
        rank=(logits > chosen[:, None]).sum(-1),
        logprob=chosen - top - log_total,
    )
