"""Eager attention, without its overhead for one new token: the pattern shown is the pattern used.

Registered with transformers under a name of its own. A single query needs neither the copies of keys
and values that grouped-query heads get in transformers' eager attention nor most of its small steps,
which cost as much as the product itself; everything else is passed on to the model's own eager
function, so soft caps, sinks and biases stay what the model's authors wrote.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import eager_mask

from livelens.model.caches import Continued

ATTENTION_NAME = "livelens_eager"
_EagerFunction = Callable[..., tuple[Tensor, Tensor]]
_of_thread = threading.local()


@dataclass(frozen=True, slots=True, kw_only=True)
class FrozenAttention:
    """One layer's attention in one frozen forward call.

    query [batch, n_heads, pos, d_head], key and value [batch, n_key_value_heads, key_pos, d_head], as
    they meet (after any norm and rotation), with gradients; pattern [batch, n_heads, pos, key_pos], a
    constant. The score is `query . key * scaling`, before any soft cap.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    pattern: Tensor
    scaling: float


@contextmanager
def frozen_patterns() -> Iterator[dict[nn.Module, FrozenAttention]]:
    """Inside, in this thread, patterns have no gradients: attention's output is linear in its values.

    Yields what each attention module did, by module, filled by the forward call. Models whose attention
    does not come through `watched_attention` leave it empty.
    """
    records: dict[nn.Module, FrozenAttention] = {}
    _of_thread.records = records
    try:
        yield records
    finally:
        del _of_thread.records


class _Carry(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, linear: Tensor, values: Tensor) -> Tensor:
        return values.detach()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def carry(linear: Tensor, values: Tensor) -> Tensor:
    """`values`, bit for bit, with the gradients of `linear`, of the same shape."""
    return cast("Callable[[Tensor, Tensor], Tensor]", _Carry.apply)(linear, values)


class PatternEdits:
    """While entered, in this thread, the patterns of some attention modules are edited before they meet the values."""

    def __init__(self, edits: dict[nn.Module, Callable[[Tensor], Tensor]]) -> None:
        """edits: of a pattern [batch, n_heads, pos, key_pos], by attention module."""
        self._edits = edits
        self._is_in = False

    def enter(self) -> None:
        """From now on."""
        if self._edits and not self._is_in:
            self._is_in = True
            _edits_of_thread().append(self._edits)

    def leave(self) -> None:
        """No longer; harmless when not entered."""
        if self._is_in:
            self._is_in = False
            _edits_of_thread().remove(self._edits)


def _edits_of_thread() -> list[dict[nn.Module, Callable[[Tensor], Tensor]]]:
    """Of the forward calls going on, the innermost last."""
    stack: list[dict[nn.Module, Callable[[Tensor], Tensor]]] | None = getattr(_of_thread, "edits", None)
    if stack is None:
        stack = _of_thread.edits = []
    return stack


def watched_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor | Continued,
    value: Tensor | Continued,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **others: object,
) -> tuple[Tensor, Tensor]:
    """Attention of one layer: output [batch, pos, n_heads, d_head], pattern [batch, n_heads, pos, key_pos].

    query: [batch, n_heads, pos, d_head]; key, value: [batch, n_key_value_heads, key_pos, d_head].
    """
    if isinstance(key, Continued) and isinstance(value, Continued):
        is_edited = any(module in edits for edits in _edits_of_thread())
        if scaling is not None and not is_edited and _is_plain(query, dropout, others):
            return _attend_continued(query, key, value, attention_mask, scaling)
    key = key.joined() if isinstance(key, Continued) else key
    value = value.joined() if isinstance(value, Continued) else value
    records: dict[nn.Module, FrozenAttention] | None = getattr(_of_thread, "records", None)
    with nullcontext() if records is None else torch.no_grad():
        written, pattern = _attend(module, query, key, value, attention_mask, scaling, dropout, **others)
        for edits in _edits_of_thread():
            if module in edits:
                pattern = edits[module](pattern)
                written = _mixed(pattern, value)
    if records is None:
        return written, pattern
    records[module] = FrozenAttention(
        query=query,
        key=key,
        value=value,
        pattern=pattern,
        scaling=query.shape[-1] ** -0.5 if scaling is None else scaling,
    )
    return carry(_mixed(pattern, value), written), pattern


def _mixed(pattern: Tensor, value: Tensor) -> Tensor:
    """[batch, pos, n_heads, d_head]: the values of grouped heads as their patterns weigh them."""
    grouped = pattern.reshape(pattern.shape[0], value.shape[1], -1, *pattern.shape[2:])
    return torch.matmul(grouped, value[:, :, None]).flatten(1, 2).transpose(1, 2)


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None,
    dropout: float,
    **others: object,
) -> tuple[Tensor, Tensor]:
    if scaling is None or not _is_plain(query, dropout, others):
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


def _attend_continued(
    query: Tensor, key: Continued, value: Continued, attention_mask: Tensor | None, scaling: float
) -> tuple[Tensor, Tensor]:
    """One query a row over a prefix that all rows share: its keys and values are read once for all of them."""
    n_rows, n_heads, _, d_head = query.shape
    n_groups, n_prefix = key.prefix.shape[1], key.prefix.shape[2]
    grouped = query.reshape(n_rows, n_groups, -1, d_head)
    together = grouped.transpose(0, 1).reshape(n_groups, -1, d_head)
    to_prefix = torch.matmul(together, key.prefix[0].transpose(1, 2))
    to_prefix = to_prefix.view(n_groups, n_rows, -1, n_prefix).transpose(0, 1)
    scores = torch.cat([to_prefix, torch.matmul(grouped, key.own.transpose(2, 3))], dim=-1) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    pattern = scores.softmax(-1, dtype=torch.float32).to(query.dtype)
    of_prefix = pattern[..., :n_prefix].transpose(0, 1).reshape(n_groups, -1, n_prefix)
    from_prefix = torch.matmul(of_prefix, value.prefix[0]).view(n_groups, n_rows, -1, d_head).transpose(0, 1)
    written = from_prefix + torch.matmul(pattern[..., n_prefix:], value.own)
    return written.reshape(n_rows, 1, n_heads, d_head), pattern.reshape(n_rows, n_heads, 1, -1)


def _is_plain(query: Tensor, dropout: float, others: dict[str, object]) -> bool:
    """Whether a single query's attention is nothing but a softmax of scaled scores."""
    return query.shape[2] == 1 and dropout == 0.0 and others.get("softcap") is None and not _changes_attention(others)


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


def is_used_by(model: nn.Module) -> bool:
    """Whether a model's attention comes through `watched_attention`, so that its patterns can be written."""
    return getattr(getattr(model, "config", None), "_attn_implementation", None) == ATTENTION_NAME


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
