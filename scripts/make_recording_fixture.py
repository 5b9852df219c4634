"""Write the golden recording in `shared_schema/fixtures/recording`: what both sides must read to the same arrays.

Made once per container version and kept, like the golden frames. `checksums.json` holds the CRC-32 of every array,
by position and name; float16 as float32.
"""

from __future__ import annotations

import json
import zlib
from pathlib import Path

import numpy as np

from livelens.protocol.messages import Sampling
from livelens.recordings import open_recording
from livelens.recordings.command import run_record

FOLDER = Path(__file__).resolve().parent.parent / "shared_schema" / "fixtures" / "recording"
PROMPT = "The cat sat on"


def main() -> None:
    """Record the fake engine, and write what the recording holds."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "run.bin"
    note = run_record(PROMPT, path, model="fake:2x2x24", sampling=Sampling(max_new_tokens=8), max_bytes=1 << 20)
    if note is not None:
        raise SystemExit(note)
    recording = open_recording(path)
    checksums = {
        f"{step.pos} {name}": zlib.crc32((np.float32(array) if array.dtype == np.float16 else array).tobytes())
        for step in recording.steps
        for name, array in sorted(step.tensors.items())
    }
    told = {"text": recording.text, "n_prompt_tokens": recording.snapshot.n_prompt_tokens, "checksums": checksums}
    (FOLDER / "checksums.json").write_text(json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    print(f"wrote {path}: {path.stat().st_size} bytes, {len(recording.steps)} positions")


if __name__ == "__main__":
    main()
