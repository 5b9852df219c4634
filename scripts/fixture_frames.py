"""What the golden frames are made of: a writer that keeps what each means, and arrays to put into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from livelens.protocol import codec, tensors
from livelens.protocol import messages as m

FIXTURES = Path(__file__).resolve().parent.parent / "shared_schema" / "fixtures"
N_LAYERS, N_HEADS, D_MLP = 3, 2, 41
Arrays = dict[str, Any]


class Writer:
    """Collects frames and what they mean."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []
        self.damaged: list[dict[str, str]] = []

    def frame(self, chain: str, name: str, event: m.Event, arrays: Arrays | None = None) -> bytes:
        """One good frame; frames of one chain are decoded in order by one decoder."""
        data = codec.encode_event(event)
        (FIXTURES / f"{name}.bin").write_bytes(data)
        plain = msgspec.json.decode(
            msgspec.json.encode(
                msgspec.structs.replace(event, tensors=m.StepTensors())
                if isinstance(event, m.Step)
                else _without_bytes(event)
            )
        )
        expected = {
            key: {
                "dtype": value.dtype.name,
                "shape": list(value.shape),
                "hex": np.ascontiguousarray(value).tobytes().hex(),
            }
            for key, value in (arrays or {}).items()
        }
        self.frames.append({"chain": chain, "file": f"{name}.bin", "event": plain, "tensors": expected})
        return data

    def bad(self, name: str, note: str, data: bytes) -> None:
        """One frame that must be refused with a typed error."""
        (FIXTURES / f"{name}.bin").write_bytes(data)
        self.damaged.append({"file": f"{name}.bin", "note": note})


def _without_bytes(event: m.Event) -> dict[str, Any]:
    built = msgspec.to_builtins(event, builtin_types=(bytes,))
    return {
        name: value
        for name, value in built.items()
        if not isinstance(getattr(event, name, None), m.Tensor | m.ComparedTensors)
    }


def tensors_of(event: m.Event) -> Arrays:
    """The arrays that an answer carries, by field."""
    fields = ((name, getattr(event, name)) for name in event.__struct_fields__)
    return {name: tensors.reconstruct(value) for name, value in fields if isinstance(value, m.Tensor)}


def nested_tensors(values: m.ComparedTensors) -> Arrays:
    """The arrays of one side of a comparison, by field."""
    fields = ((name, getattr(values, name)) for name in values.__struct_fields__)
    return {name: tensors.reconstruct(value) for name, value in fields if isinstance(value, m.Tensor)}


def floats(*shape: int) -> m.Tensor:
    """Values of both signs."""
    values = np.linspace(-1.5, 2.25, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    return tensors.encode_tensor(values)
