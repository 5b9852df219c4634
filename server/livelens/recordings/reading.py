"""Recordings in Python: open one as numpy arrays.

recording = open_recording("run.livelens")
for step in recording.steps:
    print(step.pos, step.text, step.neurons.shape)
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from livelens.client.run import ClientRun
from livelens.client.step_data import StepData
from livelens.protocol.codec import CodecError, decode_event
from livelens.protocol.messages import Hello, ModelInfo, RunJoined, RunSnapshot, Step
from livelens.protocol.tensors import TensorError
from livelens.recordings.writing import MAX_RECORDING_BYTES
from livelens.session.recording import Container, RecordingError, read_container

_MAX_LAYERS: Final = 1024
_MAX_COMPONENTS: Final = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Recording:
    """A run that was kept. `problems` says in sentences what is damaged or missing; `note` what was left out."""

    model_info: ModelInfo
    snapshot: RunSnapshot
    steps: list[StepData]
    note: str | None = None
    problems: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """What the model generated."""
        return self.snapshot.text


def open_recording(path: str | os.PathLike[str], *, max_bytes: int = MAX_RECORDING_BYTES) -> Recording:
    """Read a recording; raises RecordingError where it is none, OSError where the file cannot be read."""
    size_bytes = Path(path).stat().st_size
    if size_bytes > max_bytes:
        raise RecordingError(f"the file has {size_bytes} bytes, the limit is {max_bytes}: give a higher max_bytes")
    return parse_recording(Path(path).read_bytes())


def parse_recording(data: bytes) -> Recording:
    """A recording from its bytes; raises RecordingError, and nothing else, on any bytes."""
    container = read_container(data)
    hello, snapshot = _opening(container)
    run = ClientRun(snapshot)
    problems = list(container.problems)
    largest_bytes = _largest_step_bytes(hello.model_info, len(snapshot.tokens))
    for frame in container.frames[2:]:
        problem = _take(run, frame, largest_bytes)
        if problem is not None:
            problems.append(problem)
    steps = [run.steps[pos] for pos in sorted(run.steps)]
    missing = len(snapshot.tokens) - 1 - len(steps)
    if missing > 0 and container.note is None and problems:
        problems.append(f"{missing} of {len(snapshot.tokens) - 1} positions are missing")
    return Recording(hello.model_info, snapshot, steps, container.note, problems)


def _opening(container: Container) -> tuple[Hello, RunSnapshot]:
    if len(container.frames) < 2:
        raise RecordingError("the recording's beginning is damaged: model or run is missing")
    try:
        hello, joined = (decode_event(frame) for frame in container.frames[:2])
    except CodecError as error:
        raise RecordingError(f"the recording's beginning is damaged: {error}") from error
    if not isinstance(hello, Hello) or not isinstance(joined, RunJoined):
        raise RecordingError("the recording's beginning is damaged: model or run is missing")
    info = hello.model_info
    if info.n_layers > _MAX_LAYERS or info.n_layers * (info.d_mlp + info.n_heads) > _MAX_COMPONENTS:
        raise RecordingError(
            f"the recording names a model of {info.n_layers} layers by {info.d_mlp}: too large to read"
        )
    return hello, joined.run


def _largest_step_bytes(info: ModelInfo, n_tokens: int) -> int:
    """More than any position of this model can need: a lying frame claims more."""
    return 8 * info.n_layers * (info.d_mlp + 8 * info.n_heads + info.n_heads * (n_tokens + 64)) + 1024 * 1024


def _take(run: ClientRun, frame: bytes, largest_bytes: int) -> str | None:
    """Add one position; what is wrong with it, as a sentence."""
    try:
        step = decode_event(frame)
        if not isinstance(step, Step):
            return f"a {type(step).__name__} stands where a step should"
        sent = (getattr(step.tensors, name) for name in step.tensors.__struct_fields__)
        if sum(math.prod(tensor.shape) for tensor in sent if tensor is not None) > largest_bytes:
            return f"position {step.pos} claims more values than its model has"
        if step.base_seq >= 0 or step.pos >= len(run.tokens):
            return f"position {step.pos} does not belong to this run"
        run.take(step)
    except (CodecError, TensorError) as error:
        return f"a position cannot be read: {error}"
    return None
