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

    logits: [n_rows, d_vocab] float32, left as they are. Equal logits share the better rank.
    """
    n_rows, d_vocab = logits.shape
    n_blocks = next((n for n in (256, 128, 64, 32) if d_vocab % n == 0), 1)
    blocks = logits.reshape(n_rows, n_blocks, -1).transpose(0, 1).clone(memory_format=torch.contiguous_format)
    return consume_logit_blocks(blocks, chosen_id, scratch=torch.empty_like(blocks))


def divergence(own: Tensor, other: Tensor) -> float:
    """KL(own || other) of the distributions that two rows of logits [d_vocab] stand for, nats; 0 where they are equal.

    A logit of -inf in `own` has probability 0 and adds nothing.
    """
    log_own, log_other = own.log_softmax(-1), other.log_softmax(-1)
    terms = log_own.exp() * (log_own - log_other)
    return max(0.0, float(terms.where(torch.isfinite(log_own), 0.0).sum()))


def consume_logit_blocks(blocks: Tensor, chosen_id: int, *, scratch: Tensor) -> LogitStatistics:
    """`logit_statistics` of logits that lie vocabulary block by block, overwriting them.

    blocks: [n_blocks, n_rows, block], float32, token `t` in block `t // block`; scratch: of the same
    shape, anything in it. Both contiguous. Rows of a lens of every layer are as large as a layer's
    weights: fresh memory for every pass over them would cost more than the passes.
    """
    block = blocks.shape[-1]
    top, best_block = blocks.amax(-1).max(0)
    rows = torch.arange(blocks.shape[1], device=blocks.device)
    token_id = best_block * block + blocks[best_block, rows].argmax(-1)
    chosen = blocks[chosen_id // block, :, chosen_id % block].clone()
    n_above = torch.gt(blocks, chosen[None, :, None], out=scratch).sum(-1).sum(0)  # ones: exact below 2**24
    shifted = blocks.sub_(top[None, :, None])
    weights = torch.exp(shifted, out=scratch)
    total = weights.sum(-1).sum(0)
    # A logit of -inf has weight 0 and adds nothing; its product would be NaN.
    shifted.clamp_min_(torch.finfo(shifted.dtype).min)
    mean_shifted = weights.mul_(shifted).sum(-1).sum(0) / total
    return LogitStatistics(
        token_id=token_id,
        prob=1.0 / total,
        entropy=total.log() - mean_shifted,
        rank=n_above.long(),
        logprob=chosen - top - total.log(),
    )
