"""The golden frames decode to what their manifest says; `decode.spec.ts` reads the same files."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from livelens.protocol import codec, tensors
from livelens.protocol import messages as m

FIXTURES = Path(__file__).parents[2] / "shared_schema" / "fixtures"
MANIFEST = json.loads((FIXTURES / "manifest.json").read_text())
CHAINS = sorted({frame["chain"] for frame in MANIFEST["frames"]})


@pytest.mark.parametrize("chain", CHAINS)
def test_golden_frames_rebuild_bit_for_bit(chain: str) -> None:
    """In order, each step's tensors over the step before."""
    held: dict[str, object] = {}
    frames = [frame for frame in MANIFEST["frames"] if frame["chain"] == chain]
    assert frames
    for frame in frames:
        event = codec.decode_event((FIXTURES / frame["file"]).read_bytes())
        built = msgspec.to_builtins(event, builtin_types=(bytes,))
        for name, value in frame["event"].items():
            if name != "tensors":
                assert msgspec.json.decode(msgspec.json.encode(built[name])) == value, (frame["file"], name)
        carrier = event.tensors if isinstance(event, m.Step) else event
        base = held if isinstance(event, m.Step) and event.base_seq >= 0 else {}
        held = {}
        for name in carrier.__struct_fields__:
            tensor = getattr(carrier, name)
            if isinstance(tensor, m.Tensor):
                held[name] = tensors.reconstruct(tensor, base.get(name))
            elif isinstance(tensor, m.ComparedTensors):
                parts = ((part, getattr(tensor, part)) for part in tensor.__struct_fields__)
                held.update({f"{name}.{part}": tensors.reconstruct(value) for part, value in parts if value})
        assert {
            name: {"dtype": array.dtype.name, "shape": list(array.shape), "hex": array.tobytes().hex()}
            for name, array in held.items()
        } == frame["tensors"]


@pytest.mark.parametrize("name", [entry["file"] for entry in MANIFEST["damaged"]])
def test_damaged_frames_are_refused(name: str) -> None:
    """By the codec, or by the tensor inside."""
    with pytest.raises((codec.CodecError, tensors.TensorError)):
        event = codec.decode_event((FIXTURES / name).read_bytes())
        assert isinstance(event, m.Step) and event.tensors.direct_heads is not None
        tensors.reconstruct(event.tensors.direct_heads)


def test_every_event_type_has_a_golden_frame() -> None:
    """A new event needs a fixture."""
    tags = {frame["event"]["type"] for frame in MANIFEST["frames"]}
    assert tags == {event.__struct_config__.tag for event in m.Event.__args__}
