"""Arrays on the wire: quantise once, send whole or as differences, rebuild bit for bit.

The page's `decode.ts` does `reconstruct` in TypeScript; `shared_schema/fixtures` holds frames that
both sides must rebuild to the same bytes.
"""

from __future__ import annotations

import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from livelens.protocol.messages import DType, Tensor

NONFINITE_INT8: Final = -128
LONG_ROW_KEYS: Final = 512
STRONGEST_KEYS: Final = 64

Array = NDArray[np.generic]

_DTYPES: Final[dict[DType, np.dtype[np.generic]]] = {
    "int8": np.dtype("<i1"),
    "uint8": np.dtype("<u1"),
    "uint16": np.dtype("<u2"),
    "int32": np.dtype("<i4"),
    "uint32": np.dtype("<u4"),
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
}


class TensorError(ValueError):
    """A tensor that does not fit its own header, its base, or its checksum."""


def compand_int8(activations: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Square-root companding, a scale a layer: `sign(a) * round(127 * sqrt(|a| / max))`.

    A linear scale would flatten everything beside a layer's outliers: in the shipped model the median
    |activation| is 2.5 % of the layer's largest.

    Args: activations [n_layers, d_mlp].
    Returns: codes int8 [n_layers, d_mlp] (-128 where not finite) and scale float32 [n_layers].
    """
    finite = np.isfinite(activations)
    clean = activations if finite.all() else np.where(finite, activations, np.float32(0))
    magnitude = np.abs(clean)
    scale = magnitude.max(axis=1)
    divisor = np.where(scale > 0, scale, np.float32(1))
    codes = np.copysign(np.rint(127 * np.sqrt(magnitude / divisor[:, None])), clean).astype(np.int8)
    if clean is not activations:
        codes[~finite] = NONFINITE_INT8
    return codes, scale


def expand_int8(codes: NDArray[np.int8], scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """The activations that `codes` [n_layers, d_mlp] stand for; NaN where the code is -128."""
    root = codes.astype(np.float32) / 127
    values = (np.sign(root) * root * root * scale[:, None]).astype(np.float32)
    return np.where(codes == NONFINITE_INT8, np.float32(np.nan), values)


def quantise_attention(rows: NDArray[np.float32]) -> dict[str, Array]:
    """Rows of `pattern` [n_layers, n_heads, n_keys] in 1/255.

    Above 512 keys only each head's strongest 64 are kept, with their positions (ascending) and the
    weight of all the rest.
    """
    n_keys = rows.shape[-1]
    if n_keys <= LONG_ROW_KEYS:
        return {"attention": _to_uint8(rows)}
    keys = np.argpartition(rows, n_keys - STRONGEST_KEYS, axis=-1)[..., n_keys - STRONGEST_KEYS :]
    keys = np.sort(keys, axis=-1)
    kept = np.take_along_axis(rows, keys, axis=-1)
    index_dtype = np.uint16 if n_keys <= 0xFFFF else np.uint32
    return {
        "attention": _to_uint8(kept),
        "attention_keys": keys.astype(index_dtype),
        "attention_rest": _to_uint8(rows.sum(axis=-1) - kept.sum(axis=-1)),
    }


def _to_uint8(weights: NDArray[np.float32]) -> NDArray[np.uint8]:
    return np.rint(255 * np.clip(np.nan_to_num(weights), 0, 1)).astype(np.uint8)


def to_float16(values: NDArray[np.float32]) -> NDArray[np.float16] | NDArray[np.float32]:
    """float16, or float32 where a value would overflow it (some models' residual streams do)."""
    finite = values[np.isfinite(values)]
    if finite.size and float(np.abs(finite).max()) > float(np.finfo(np.float16).max):
        return values.astype(np.float32, copy=False)
    return values.astype(np.float16)


def shorten_float32(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """float32 rounded to 16 significant bits: within 2**-16 relative, and a fourth of its bytes compress away.

    For what must still sum up after the wire, where float16 would not. Non-finite values stay as they are.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    rounded = ((bits + np.uint32(0x80)) & np.uint32(0xFFFFFF00)).view(np.float32)
    return np.where(np.isfinite(values) & np.isfinite(rounded), rounded, values).astype(np.float32)


def encode_tensor(current: Array, base: Array | None = None) -> Tensor:
    """`current` as a wire tensor: sparse against `base` where that is smaller, else whole.

    Differences are taken between bit patterns, so NaN and -0.0 survive.
    """
    whole = np.ascontiguousarray(current)
    raw = whole.tobytes()
    dtype_name = _wire_name(whole.dtype)
    shape, crc32 = list(whole.shape), zlib.crc32(raw)
    if base is not None and base.dtype == whole.dtype and base.shape == whole.shape:
        bits = np.dtype(f"u{whole.dtype.itemsize}")
        now, before = whole.reshape(-1).view(bits), np.ascontiguousarray(base).reshape(-1).view(bits)
        changed = now != before
        if int(np.count_nonzero(changed)) * (4 + whole.dtype.itemsize) < len(raw):
            indices = np.flatnonzero(changed).astype("<u4")
            return Tensor(dtype_name, shape, now[indices].tobytes(), crc32, indices.tobytes())
    return Tensor(dtype_name, shape, raw, crc32)


def _wire_name(dtype: np.dtype[np.generic]) -> DType:
    for name, known in _DTYPES.items():
        if known == dtype:
            return name
    raise TensorError(f"arrays of {dtype} have no form on the wire: use one of {', '.join(_DTYPES)}")


def reconstruct(tensor: Tensor, base: Array | None = None) -> Array:
    """The array that `tensor` stands for; raises TensorError when it does not fit.

    The result owns its memory, so it is aligned whatever the frame's offsets were.
    """
    dtype = _DTYPES[tensor.dtype]
    if any(size < 0 for size in tensor.shape):
        raise TensorError(f"negative size in shape {tensor.shape}")
    count = int(np.prod(tensor.shape, dtype=np.int64))
    if tensor.indices is None:
        if len(tensor.data) != count * dtype.itemsize:
            raise TensorError(f"{len(tensor.data)} bytes do not fill shape {tensor.shape} of {tensor.dtype}")
        values = np.frombuffer(tensor.data, dtype).reshape(tensor.shape).copy()
    else:
        values = _apply_difference(tensor, base, dtype)
    if zlib.crc32(values.tobytes()) != tensor.crc32:
        raise TensorError("checksum differs: a step was lost; ask for a keyframe")
    return values


def _apply_difference(tensor: Tensor, base: Array | None, dtype: np.dtype[np.generic]) -> Array:
    assert tensor.indices is not None
    if base is None or base.dtype != dtype or list(base.shape) != tensor.shape:
        raise TensorError("a sparse tensor came without its base: ask for a keyframe")
    if len(tensor.indices) % 4 or len(tensor.data) != len(tensor.indices) // 4 * dtype.itemsize:
        raise TensorError("a sparse tensor's indices and values differ in number")
    indices = np.frombuffer(tensor.indices, "<u4")
    if indices.size and int(indices.max()) >= base.size:
        raise TensorError("a sparse tensor points past its end")
    values = base.copy()
    values.reshape(-1)[indices] = np.frombuffer(tensor.data, dtype)
    return values
