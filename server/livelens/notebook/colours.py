"""Values to colours, as in the page: signed bytes by its rules (`encode.ts`), then its scales (`colour.ts`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from livelens.notebook.layout import F64, Blocks, Theme, picture
from livelens.protocol.tensors import NONFINITE_INT8

I8 = NDArray[np.int8]
U8 = NDArray[np.uint8]
Tensors = Mapping[str, NDArray[np.generic]]
Display = Literal["activation", "direct_logit"]

_FULL: Final = 127


def rgb_of(colour: str) -> tuple[int, int, int]:
    """#rrggbb as bytes."""
    value = int(colour[1:], 16)
    return value >> 16 & 255, value >> 8 & 255, value & 255


@cache
def colour_map(display: Display, theme: Theme) -> U8:
    """[256, 3]: the scale from its lower to its upper end; of the diverging one zero is in the middle."""
    stops = picture()["colours"]["sequential" if display == "activation" else "diverging"][theme]
    at = np.arange(256) / 255
    colours = np.array([rgb_of(stop["colour"]) for stop in stops], dtype=np.float64).T
    mixed = np.stack([np.interp(at, [stop["at"] for stop in stops], channel) for channel in colours], axis=-1)
    return np.floor(mixed + 0.5).astype(np.uint8)


@cache
def code_colours(display: Display, theme: Theme) -> U8:
    """[256, 3], by a code's bits taken as unsigned; what is not finite has a colour of its own."""
    values = np.arange(256, dtype=np.uint8).view(np.int8) / np.float64(_FULL)
    share = np.abs(values) if display == "activation" else values / 2 + 0.5
    table = colour_map(display, theme)[np.clip(np.floor(share * 255 + 0.5), 0, 255).astype(np.intp)]
    table[np.int8(NONFINITE_INT8).view(np.uint8)] = rgb_of(picture()["ground"][theme]["odd"])
    return table


@dataclass(frozen=True, slots=True, kw_only=True)
class Codes:
    """What a sheet shows, int8 in -127..127 (-128: not finite); zero where nothing is known.

    neurons [n_layers, d_mlp], heads [n_layers, n_heads], attn and mlp [n_layers].
    """

    neurons: I8
    heads: I8
    attn: I8
    mlp: I8


def no_codes(blocks: Blocks) -> Codes:
    """Nothing is known yet."""
    n_layers = blocks.n_layers
    return Codes(
        neurons=np.zeros((n_layers, blocks.d_mlp), np.int8),
        heads=np.zeros((n_layers, blocks.n_heads), np.int8),
        attn=np.zeros(n_layers, np.int8),
        mlp=np.zeros(n_layers, np.int8),
    )


def encode(tensors: Tensors, display: Display, blocks: Blocks) -> Codes:
    """One step's tensors (`StepData.tensors`) as codes."""
    return _encode_activation(tensors, blocks) if display == "activation" else _encode_direct(tensors, blocks)


def _encode_activation(tensors: Tensors, blocks: Blocks) -> Codes:
    """Neurons as they came, heads by their layer's largest norm, whole blocks by the model's largest."""
    codes = no_codes(blocks)
    heads = _floats(tensors, "heads", codes.heads)
    largest = np.array([_largest(layer) for layer in heads])[:, None]
    neurons = tensors.get("neurons")
    return Codes(
        neurons=codes.neurons if neurons is None else neurons.astype(np.int8).reshape(codes.neurons.shape),
        heads=_linear(heads, largest),
        attn=_root(whole := _floats(tensors, "attn_out", codes.attn), _largest(whole)),
        mlp=_root(whole := _floats(tensors, "mlp_out", codes.mlp), _largest(whole)),
    )


def _encode_direct(tensors: Tensors, blocks: Blocks) -> Codes:
    """Signed contributions, each kind by its own largest over the whole model."""
    codes = no_codes(blocks)
    heads = _floats(tensors, "direct_heads", codes.heads)
    mlp = _floats(tensors, "direct_mlps", codes.mlp)
    attn = _whole_attention(tensors, heads) if "direct_heads" in tensors else np.zeros(blocks.n_layers)
    of_blocks = max(_largest(attn), _largest(mlp))
    values = tensors.get("direct_neuron_value")
    if values is not None:
        layers, indices = tensors["direct_neuron_layer"].astype(int), tensors["direct_neuron_index"].astype(int)
        amounts = values.astype(np.float64)
        codes.neurons[layers, indices] = _root(amounts, _largest(amounts))
    return Codes(
        neurons=codes.neurons,
        heads=_root(heads, _largest(heads)),
        attn=_root(attn, of_blocks),
        mlp=_root(mlp, of_blocks),
    )


def _whole_attention(tensors: Tensors, heads: F64) -> F64:
    """Heads and output bias together, added up in float32 and in this order as the page does: equal codes."""
    terms = np.column_stack([heads, tensors.get("direct_bias", np.zeros(len(heads)))]).astype(np.float32)
    return terms.cumsum(axis=-1, dtype=np.float32)[:, -1].astype(np.float64)


def _floats(tensors: Tensors, name: str, like: I8) -> F64:
    """In double precision, as the page reckons; zeros where it was not sent."""
    values = tensors.get(name)
    return np.zeros(like.shape) if values is None else values.astype(np.float64).reshape(like.shape)


def _largest(values: F64) -> float:
    sizes = np.abs(values)
    return float(np.max(sizes, initial=0.0, where=np.isfinite(sizes)))


def _linear(values: F64, largest: ArrayLike) -> I8:
    return _codes(values, np.floor(_FULL * np.clip(_share(values, largest), -1, 1) + 0.5))


def _root(values: F64, largest: ArrayLike) -> I8:
    size = np.floor(_FULL * np.sqrt(np.minimum(1, np.abs(_share(values, largest)))) + 0.5)
    return _codes(values, np.sign(values) * size)


def _share(values: F64, largest: ArrayLike) -> F64:
    most = np.broadcast_to(np.asarray(largest, dtype=np.float64), values.shape)
    finite = np.where(np.isfinite(values), values, 0)
    return np.divide(finite, most, out=np.zeros(values.shape), where=most > 0)


def _codes(values: F64, codes: F64) -> I8:
    return np.where(np.isfinite(values), codes, NONFINITE_INT8).astype(np.int8)
