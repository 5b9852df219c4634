"""Eager attention, without its overhead for one new token: the pattern shown is the pattern used.

Registered with transformers under a name of its own. A single query needs neither the copies of keys
and values that grouped-query heads get in transformers' eager attention nor most of its small steps,
which cost as much as the product itself; everything else is passed on to the model's own eager
function, so soft caps, sinks and biases stay what the model's authors wrote.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

ATTENTION_NAME = "livelens_eager"
_EagerFunction = Callable[..., tuple[Tensor, Tensor]]


def watched_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: object,
) -> tuple[Tensor, Tensor]:
    """Attention of one layer: output [batch, pos, n_heads, d_head], pattern [batch, n_heads, pos, key_pos].

    query: [batch, n_heads, pos, d_head]; key, value: [batch, n_key_value_heads, key_pos, d_head].
    """
    is_plain = dropout == 0.0 and others.get("softcap") is None and not _changes_attention(others)
    if query.shape[2] != 1 or not is_plain or scaling is None:
        eager = _eager_of(module)
        return eager(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **others)
    n_groups = key.shape[1]
    grouped = query.reshape(query.shape[0], n_groups, -1, query.shape[-1])
    scores = torch.matmul(grouped, key.transpose(2, 3)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    pattern = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    written = torch.matmul(pattern, value)
    return written.reshape(query.shape[0], 1, query.shape[1], -1), pattern.reshape(*query.shape[:3], -1)


def _changes_attention(others: dict[str, object]) -> bool:
    """Whether a model passes a tensor (sinks, a bias) beyond those that every model passes."""
    usual = ("position_ids", "cache_position", "position_embeddings", "cu_seq_lens_q", "cu_seq_lens_k")
    return any(isinstance(value, Tensor) for name, value in others.items() if name not in usual)


def _eager_of(module: nn.Module) -> _EagerFunction:
    """The eager function of the file that the model comes from."""
    return cast("_EagerFunction", sys.modules[type(module).__module__].__dict__["eager_attention_forward"])


def register() -> None:
    """Make the name known to transformers; harmless when done twice."""
    AttentionInterface.register(ATTENTION_NAME, watched_attention)
    AttentionMaskInterface.register(ATTENTION_NAME, eager_mask)


def use(model: nn.Module) -> bool:
    """Switch a Hugging Face model, loaded with eager attention, over; false where it cannot be."""
    switch = getattr(model, "set_attn_implementation", None)
    has_eager = all(
        "eager_attention_forward" in sys.modules[type(module).__module__].__dict__
        for module in model.modules()
        if type(module).__name__.endswith("Attention")
    )
    if switch is None or not has_eager or not getattr(model, "_supports_attention_backend", False):
        return False
    register()
    switch(ATTENTION_NAME)
    return True
