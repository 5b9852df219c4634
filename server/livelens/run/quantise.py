"""Exact arrays of a step to what goes on the wire; channel by channel, once per step."""

from __future__ import annotations

import numpy as np

from livelens.model.engine import DirectLogit, LensRows, StepArrays
from livelens.protocol.messages import Channel
from livelens.protocol.tensors import compand_int8, quantise_attention, shorten_float32, to_float16
from livelens.run.causal import causal_arrays
from livelens.run.jobs import Arrays
from livelens.run.twin_steps import quantised_differences


def quantised(exact: StepArrays) -> Arrays:
    """The wire arrays of `exact`, by tensor name (`StepTensors` says dtype and shape of each)."""
    arrays: Arrays = {}
    if exact.neurons is not None:
        arrays["neurons"], arrays["neurons_scale"] = compand_int8(exact.neurons)
    if exact.attention is not None:
        arrays.update(quantise_attention(exact.attention))
    for name in ("heads", "residual", "attn_out", "mlp_out"):
        values = getattr(exact, name)
        if values is not None:
            arrays[name] = to_float16(values)
    if exact.lens is not None:
        arrays.update(_lens(exact.lens))
    if exact.direct is not None:
        arrays.update(_direct(exact.direct))
    if exact.causal is not None:
        arrays.update(causal_arrays(exact.causal))
    if exact.difference is not None:
        arrays.update(quantised_differences(exact.difference))
    return arrays


def _lens(lens: LensRows) -> Arrays:
    return {
        "lens_token_id": lens.token_id.astype(np.int32),
        "lens_prob": lens.prob.astype(np.float16),
        "lens_entropy": to_float16(lens.entropy.astype(np.float32)),
        "lens_rank": lens.rank.astype(np.int32),
        "lens_logprob": shorten_float32(lens.logprob),
    }


def _direct(direct: DirectLogit) -> Arrays:
    return {
        "direct_heads": shorten_float32(direct.heads),
        "direct_mlps": shorten_float32(direct.mlps),
        "direct_bias": shorten_float32(direct.attn_bias),
        "direct_ends": np.array([direct.embed, direct.final_bias, direct.total], np.float32),
        "direct_neuron_layer": direct.neuron_layer.astype(np.uint16),
        "direct_neuron_index": direct.neuron_index.astype(np.uint32),
        "direct_neuron_value": shorten_float32(direct.neuron_value),
    }


def merged(before: StepArrays, after: StepArrays) -> StepArrays:
    """One position's exact arrays, the later ones winning where both have a channel."""
    names = ("neurons", "heads", "attention", "residual", "attn_out", "mlp_out", "lens", "direct", "causal")
    return StepArrays(
        **{name: getattr(after, name) if getattr(after, name) is not None else getattr(before, name) for name in names}
    )


def size_bytes(exact: StepArrays) -> int:
    """Memory of the exact arrays."""
    fields = (exact.neurons, exact.heads, exact.attention, exact.residual, exact.attn_out, exact.mlp_out)
    return sum(values.nbytes for values in fields if values is not None)


def channels_of(arrays: Arrays, names: dict[Channel, tuple[str, ...]]) -> frozenset[Channel]:
    """The channels that `arrays` hold something of."""
    return frozenset(channel for channel, tensors in names.items() if tensors[0] in arrays)
