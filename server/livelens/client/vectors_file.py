"""Vectors with what made them, in safetensors: directions of the stream, keys and values of rank-1 edits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from livelens.client.errors import LivelensError
from livelens.protocol.messages import ModelInfo

F32 = NDArray[np.float32]


def save_vectors(
    path: str | Path, vectors: Mapping[str, F32], file_format: str, facts: Mapping[str, str], model_info: ModelInfo
) -> None:
    """Write float32 vectors; the metadata says the format, `facts`, and of which model they are."""
    from safetensors.numpy import save_file  # only who saves needs it

    metadata = {
        "format": f"{file_format} 1",
        **facts,
        "model_name": model_info.model_name,
        "weights_sha256": model_info.weights_sha256,
    }
    save_file(dict(vectors), str(path), metadata=metadata)


def load_vectors(
    path: str | Path, names: Sequence[str], file_format: str, what: str
) -> tuple[dict[str, F32], dict[str, str]]:
    """The vectors of these names, and the metadata. Raises LivelensError (`holds WHAT`) for any other file."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            vectors = {name: np.ascontiguousarray(file.get_tensor(name), np.float32) for name in names}
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise LivelensError("bad_file", f"{path} holds {what}: {error}") from error
    if not metadata.get("format", "").startswith(file_format) or any(each.ndim != 1 for each in vectors.values()):
        raise LivelensError("bad_file", f"{path} holds {what}")
    return vectors, metadata
