"""Exact arrays of two positions as the tensors of a comparison: one run's, and what it has more than the other."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from livelens.model.engine import F32, DirectLogit, LensRows, StepArrays
from livelens.protocol.messages import ComparedTensors, ModelInfo
from livelens.protocol.tensors import encode_tensor

# As many as a step tells.
_STRONGEST_NEURONS: Final = 64
_PLAIN: Final = ("neurons", "heads", "attention", "residual", "attn_out", "mlp_out")
_Arrays = dict[str, NDArray[np.generic]]


def tensors_of(arrays: StepArrays, info: ModelInfo) -> ComparedTensors:
    """One position's channels. `arrays.direct` has every neuron of the model."""
    made: _Arrays = {}
    for name in _PLAIN:
        values: F32 | None = getattr(arrays, name)
        if values is not None:
            made[name] = values
    if arrays.lens is not None:
        made.update(lens_token_id=arrays.lens.token_id, lens_prob=arrays.lens.prob, **_lens(arrays.lens))
    if arrays.direct is not None:
        made.update(_terms(arrays.direct), **_strongest(_dense_neurons(arrays.direct, info)))
    return _encoded(made)


def difference_arrays(own: StepArrays, other: StepArrays) -> dict[str, F32]:
    """What `own` has more than `other`: activations, norms, patterns and direct terms, of the channels both have."""
    made: dict[str, F32] = {}
    for name in _PLAIN:
        a, b = getattr(own, name), getattr(other, name)
        if a is not None and b is not None:
            made[name] = a - b
    if own.direct is not None and other.direct is not None:
        a_terms, b_terms = _terms(own.direct), _terms(other.direct)
        made.update({name: a_terms[name] - b_terms[name] for name in a_terms})
    return made


def differences_of(own: StepArrays, other: StepArrays, info: ModelInfo) -> ComparedTensors:
    """What `own` has more than `other`, float32 throughout, of the channels that both have."""
    made: _Arrays = {**difference_arrays(own, other)}
    if own.lens is not None and other.lens is not None:
        a_rows, b_rows = _lens(own.lens), _lens(other.lens)
        made.update({name: a_rows[name].astype(np.float32) - b_rows[name].astype(np.float32) for name in a_rows})
    if own.direct is not None and other.direct is not None:
        made.update(_strongest(_dense_neurons(own.direct, info) - _dense_neurons(other.direct, info)))
    return _encoded(made)


def _lens(lens: LensRows) -> dict[str, NDArray[np.generic]]:
    return {
        "lens_entropy": lens.entropy.astype(np.float32),
        "lens_rank": lens.rank,
        "lens_logprob": lens.logprob.astype(np.float32),
    }


def _terms(direct: DirectLogit) -> dict[str, F32]:
    return {
        "direct_heads": direct.heads.astype(np.float32),
        "direct_mlps": direct.mlps.astype(np.float32),
        "direct_bias": direct.attn_bias.astype(np.float32),
        "direct_ends": np.array([direct.embed, direct.final_bias, direct.total], np.float32),
    }


def _dense_neurons(direct: DirectLogit, info: ModelInfo) -> F32:
    """[n_layers, d_mlp]."""
    dense = np.zeros((info.n_layers, info.d_mlp), np.float32)
    dense[direct.neuron_layer, direct.neuron_index] = direct.neuron_value
    return dense


def _strongest(dense: F32) -> _Arrays:
    """The largest of [n_layers, d_mlp] by size, largest first; those that are exactly zero are none of them."""
    flat = dense.reshape(-1)
    k = min(_STRONGEST_NEURONS, int(np.count_nonzero(flat)))
    at = np.argpartition(-np.abs(flat), max(k - 1, 0))[:k] if k else np.zeros(0, np.int64)
    at = at[np.argsort(-np.abs(flat[at]), kind="stable")]
    layer, index = np.unravel_index(at, dense.shape)
    return {
        "direct_neuron_layer": layer.astype(np.uint16),
        "direct_neuron_index": index.astype(np.uint32),
        "direct_neuron_value": flat[at],
    }


def _encoded(arrays: _Arrays) -> ComparedTensors:
    return ComparedTensors(**{name: encode_tensor(values) for name, values in arrays.items()})
