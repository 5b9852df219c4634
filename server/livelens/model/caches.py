"""Key/value caches: a run's own, and a prefix's that many batch rows continue."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer


def new_cache() -> Cache:
    """An empty cache.

    Full-length layers even where the model slides a window over them: only those can be cut back to any
    position. The sliding window is in the attention mask all the same.
    """
    return Cache(layer_class_to_replicate=DynamicLayer)


def copied_cache(cache: Cache, n_positions: int, *, is_cloned: bool = False) -> Cache:
    """A cache of its own over the first `n_positions` of the first row of `cache`.

    Their keys and values are the same memory, or with is_cloned memory of their own.
    """
    layers = [DynamicLayer() for _ in cache.layers]
    for layer, old in zip(layers, cache.layers, strict=True):
        if isinstance(old.keys, Tensor) and isinstance(old.values, Tensor):
            layer.lazy_initialization(old.keys, old.values)
            keys, values = old.keys[:1, :, :n_positions], old.values[:1, :, :n_positions]
            layer.keys, layer.values = (keys.clone(), values.clone()) if is_cloned else (keys, values)
    other = new_cache()
    other.layers = layers
    return other


def paired_cache(first: Cache, second: Cache) -> Cache:
    """Two caches of one row and equal length as one of two rows; where both are the same memory, it is not copied."""
    layers = [DynamicLayer() for _ in first.layers]
    for layer, above, below in zip(layers, first.layers, second.layers, strict=False):
        tensors = (above.keys, above.values, below.keys, below.values)
        if all(isinstance(tensor, Tensor) for tensor in tensors):
            layer.lazy_initialization(above.keys, above.values)
            layer.keys, layer.values = _two_rows(above.keys, below.keys), _two_rows(above.values, below.values)
    other = new_cache()
    other.layers = layers
    return other


def _two_rows(first: Tensor, second: Tensor) -> Tensor:
    if first.data_ptr() == second.data_ptr() and first.stride() == second.stride():
        return first.expand(2, -1, -1, -1)  # to be read: a longer cache is a new tensor
    return torch.cat([first, second])


@dataclass(frozen=True, slots=True)
class Continued:
    """Keys or values of rows that continue one prefix, which is not copied for them.

    prefix: [1, n_key_value_heads, n_prefix, d_head], the same for every row; own: [row, n_key_value_heads, n_new,
    d_head]. For `watched_attention`.
    """

    prefix: Tensor
    own: Tensor

    def joined(self) -> Tensor:
        """[row, n_key_value_heads, n_prefix + n_new, d_head], with a copy of the prefix for each row."""
        return _after(self.prefix, self.own)


class _PrefixLayer(DynamicLayer):  # type: ignore[misc]  # transformers is untyped, and asks for this class
    """One layer of a prefix (batch of one), the same for every row that continues it."""

    keys: Tensor | None
    values: Tensor | None
    keeps_rows: bool
    is_copied: bool

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor | Continued, Tensor | Continued]:
        """What is there, the same for every row while it is of one, with the rows' new positions after it."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        if not self.is_copied and self.keys is not None and self.values is not None and self.keys.numel():
            return Continued(self.keys, key_states), Continued(self.values, value_states)
        keys, values = _after(self.keys, key_states), _after(self.values, value_states)
        if self.keeps_rows:
            self.keys, self.values = keys, values
        return keys, values


def _after(before: Tensor | None, states: Tensor) -> Tensor:
    """`states` [row, head, position, d_head] after what is there, which is of as many rows or the same for all."""
    if before is None or not before.numel():
        return states
    return torch.cat([before.expand(states.shape[0], -1, -1, -1), states], dim=-2)


def prefix_cache(
    prefix: Cache, n_layers: int, *, n_positions: int | None = None, keeps_rows: bool, is_copied: bool = True
) -> Cache:
    """The first `n_positions` (none: all) of `prefix` (batch of one), to be continued by any number of rows.

    `prefix` stays as it is. keeps_rows: the rows' new positions stay for the next call, as many rows as each
    layer had; else each call continues the prefix anew, and the rows' copies exist for one layer at a time.
    is_copied: false where attention takes `Continued` (`attention.is_used_by`) and the rows are not kept.
    """
    layers = [_PrefixLayer() for _ in range(n_layers)]
    for layer in layers:
        layer.keeps_rows, layer.is_copied = keeps_rows, is_copied
    for layer, old in zip(layers, prefix.layers, strict=False):
        if isinstance(old.keys, Tensor) and isinstance(old.values, Tensor) and old.keys[:, :, :n_positions].numel():
            layer.lazy_initialization(old.keys, old.values)
            layer.keys, layer.values = old.keys[:, :, :n_positions], old.values[:, :, :n_positions]
    return Cache(layers=layers)
