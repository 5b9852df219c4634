# ruff: noqa: T201
"""Read a recording with nothing of livelens: python examples/read_recording_bare.py run.livelens"""

import struct
import sys
import zlib
from pathlib import Path

import msgpack
import numpy as np
import zstandard

data, at, events = Path(sys.argv[1]).read_bytes(), 8, []
assert data[:8] == b"\x89LLR\r\n\x1a\n", "not a recording"
while at < len(data):
    kind, size, crc32 = struct.unpack_from("<4sII", data, at)
    body = data[at + 12 : at + 12 + size]
    assert zlib.crc32(data[at : at + 8] + body) == crc32, f"the block at byte {at} is damaged"
    if kind == b"FRAM":
        packed = body[1:] if body[0] == 0 else zstandard.ZstdDecompressor().decompress(body[1:])
        events.append(msgpack.unpackb(packed))
    at += 12 + size
hello, joined, *steps = events
print(hello["model_info"]["model_name"], repr(joined["run"]["text"]))
for step in steps:
    arrays = {
        name: np.frombuffer(tensor["data"], tensor["dtype"]).reshape(tensor["shape"])
        for name, tensor in step["tensors"].items()
    }
    print(step["pos"], repr(step["text"]), {name: array.shape for name, array in arrays.items()})
