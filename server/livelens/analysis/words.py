"""Directions of the residual stream put into words: the tokens whose logits they raise and lower."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from livelens.model.replay import ModelParts
from livelens.protocol.messages import TopToken


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """The strongest tokens of one direction, strongest first; `prob` of each is what is added to its logit."""

    promoted: list[TopToken]
    suppressed: list[TopToken]


def logits_written(parts: ModelParts, directions: Tensor) -> Tensor:
    """What directions [n, d_model], already through the final norm, add to each logit: float32 [n, d_vocab].

    Above the mean of all logits, which no probability depends on; before any soft cap.
    """
    unembed = parts.weights.unembed
    logits = (directions.to(unembed.dtype) @ unembed.T).float() * parts.readout.logit_scale
    return logits - logits.mean(-1, keepdim=True)


def words_of(parts: ModelParts, logits: Tensor, *, n_tokens: int) -> Words:
    """The words of one row of logits [d_vocab]."""
    return Words(
        promoted=top_tokens(parts, logits, n_tokens=n_tokens),
        suppressed=top_tokens(parts, logits, n_tokens=n_tokens, largest=False),
    )


def top_tokens(parts: ModelParts, values: Tensor, *, n_tokens: int, largest: bool = True) -> list[TopToken]:
    """The tokens with the largest (or smallest) of values [d_vocab], with the value in `prob`."""
    best = torch.topk(values, min(n_tokens, len(values)), largest=largest)
    return labelled(parts, best.indices, best.values)


def labelled(parts: ModelParts, token_ids: Tensor, values: Tensor) -> list[TopToken]:
    """Tokens [n] and a value of each [n], with their texts."""
    return [
        TopToken(token_id=token_id, text=parts.tokens.token_text(token_id), prob=value)
        for token_id, value in zip(token_ids.tolist(), values.tolist(), strict=True)
    ]
