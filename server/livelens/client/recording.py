"""Keeping a run: the part of the Python client that writes recordings and activations to disk."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from livelens.client.errors import LivelensError
from livelens.client.run import ClientRun
from livelens.protocol.messages import RecordingPart, RequestRecording
from livelens.protocol.tensors import expand_int8
from livelens.recordings.writing import MAX_RECORDING_BYTES, whole_file
from livelens.session.recording import BLOCK_HEADER, FRAME, HEAD, MAGIC, RecordingSum

if TYPE_CHECKING:
    from livelens.client.connection import Connection

_ATTEMPTS: Final = 3


class Recordings:
    """What a client can keep of the run it watches."""

    _connection: Connection

    async def save_recording(
        self,
        run: ClientRun,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = MAX_RECORDING_BYTES,
        on_progress: Callable[[int], None] | None = None,
    ) -> str | None:
        """Write the run as it stands, every captured channel, to `path`; it appears there when it is whole.

        max_bytes: where the file would grow larger, it ends before that position. The run is not disturbed.
        on_progress: called with the bytes written so far.
        Returns: why the file is not all of the run, or none. Raises LivelensError, and OSError where the disk is full.
        """
        with whole_file(Path(path)) as file:
            for _ in range(_ATTEMPTS):
                note, is_whole = await self._write_parts(run, file, max_bytes, on_progress)
                if is_whole:
                    return note
                file.seek(0)
                file.truncate()
            raise LivelensError("run_changed", "the run was computed again while it was saved: pause it first")

    async def _write_parts(
        self, run: ClientRun, file: BinaryIO, max_bytes: int, on_progress: Callable[[int], None] | None
    ) -> tuple[str | None, bool]:
        """The note of the file, and whether the run was the same from the first part to the last."""
        written = RecordingSum()
        note: str | None = None
        n_rewinds: int | None = None
        next_pos: int | None = 0
        to_pos: int | None = None
        while next_pos is not None:
            from_pos = next_pos
            command = RequestRecording(
                request_id=self._connection.request_id(), run_id=run.run_id, from_pos=from_pos, to_pos=to_pos
            )
            part = await self._connection.ask(command, RecordingPart)
            if n_rewinds is not None and part.n_rewinds != n_rewinds:
                return None, False
            n_rewinds, to_pos, next_pos = part.n_rewinds, part.to_pos, part.next_pos
            if from_pos > 0 and written.n_bytes + len(part.data) > max_bytes:
                note = f"the limit of {max_bytes} bytes was reached: positions from {from_pos} on were left out"
                break
            file.write(part.data)
            written.add(part.data, n_steps_in(part.data))
            if on_progress is not None:
                on_progress(written.n_bytes)
        file.write(written.end(note))
        return note, True

    async def save_activations(self, run: ClientRun, path: str | os.PathLike[str]) -> None:
        """Write what this client holds of the run as safetensors, each channel stacked over positions.

        `positions` int32 [n], `token_ids` int32 [n], `neurons` float32 [n, n_layers, d_mlp], `attention` float32
        [n, n_layers, n_heads, n] (zero after the diagonal), every other tensor under its name on the wire. Values are
        those that were sent: within the quantisation that `StepTensors` tells. A channel that some position lacks
        is left out. Raises LivelensError where there is nothing to write.
        """
        from safetensors.numpy import save

        tensors = stacked_activations(run)
        data = save(tensors, metadata={"prompt": run.prompt, "text": run.text})
        with whole_file(Path(path)) as file:
            file.write(data)


def n_steps_in(data: bytes) -> int:
    """How many positions a part of a recording holds: its frames, but for hello and run_joined of the first."""
    at = len(MAGIC) if data.startswith(MAGIC) else 0
    n_frames = -2 if at else 0
    while at < len(data):
        kind, size, _ = BLOCK_HEADER.unpack_from(data, at)
        if kind == FRAME:
            n_frames += 1
        elif kind != HEAD:
            raise LivelensError("damaged_frame", f"the server sent a block of unknown kind {kind!r}")
        at += BLOCK_HEADER.size + size
    return n_frames


def stacked_activations(run: ClientRun) -> dict[str, NDArray[np.generic]]:
    """Arrays by name, the first axis over the positions that the client holds."""
    positions = sorted(pos for pos, step in run.steps.items() if step.tensors)
    if not positions:
        raise LivelensError("no_activations", "this client holds no activations: subscribe to channels, then run")
    steps = [run.steps[pos] for pos in positions]
    shared = set.intersection(*(set(step.tensors) for step in steps))
    stacked: dict[str, NDArray[np.generic]] = {
        "positions": np.array(positions, np.int32),
        "token_ids": np.array([step.info.token_id for step in steps], np.int32),
    }
    for name in sorted(shared - {"neurons", "neurons_scale", "attention", "attention_keys", "attention_rest"}):
        values = [step.tensors[name] for step in steps]
        if len({(array.shape, array.dtype) for array in values}) == 1:
            stacked[name] = np.stack(values)
    if {"neurons", "neurons_scale"} <= shared:
        stacked["neurons"] = np.stack(
            [
                expand_int8(step.tensors["neurons"].astype(np.int8), step.tensors["neurons_scale"].astype(np.float32))
                for step in steps
            ]
        )
    if "attention" in shared:
        rows = [step.attention for step in steps]
        padded = np.zeros((len(rows), *rows[0].shape[:2], positions[-1] + 1), np.float32)
        for row, weights in zip(padded, rows, strict=True):
            row[..., : weights.shape[-1]] = weights
        stacked["attention"] = padded
    return stacked
