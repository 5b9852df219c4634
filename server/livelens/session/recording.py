"""A run as bytes that can be kept: blocks with checksums around the very frames of the wire. No I/O.

The server makes parts of whole blocks (`recording_part`), the viewer appends them and writes the end block.
`docs/recordings.md` tells the container byte by byte; `client/src/connection/replay_file.ts` reads the same.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from livelens import __version__
from livelens.protocol.codec import encode_event
from livelens.protocol.messages import (
    PROTOCOL_VERSION,
    Hello,
    Limits,
    ModelInfo,
    RecordingPart,
    RequestRecording,
    RunJoined,
    RunSnapshot,
    Step,
    StepTensors,
)
from livelens.protocol.tensors import encode_tensor
from livelens.run.jobs import Arrays
from livelens.session.frames import Frame
from livelens.session.record import RunRecord
from livelens.session.snapshot import snapshot

MAGIC: Final = b"\x89LLR\r\n\x1a\n"  # no text file begins so, and a transfer that changes line ends shows here
CONTAINER_VERSION: Final = (1, 0)
HEAD, FRAME, END = b"HEAD", b"FRAM", b"DONE"
BLOCK_HEADER: Final = struct.Struct("<4sII")  # kind, bytes of the body, crc32 of both and the body
MAX_BODY_BYTES: Final = 64 * 1024 * 1024
_PART_ARRAY_BYTES: Final = 1024 * 1024
_PART_STEPS: Final = 64
_T = TypeVar("_T")


class RecordingError(ValueError):
    """Bytes that are no recording, or one that cannot be shown; the text says why."""


class RecordingHead(msgspec.Struct, frozen=True):
    """First block, JSON: so that a text viewer shows what the file is."""

    format: str = "livelens recording"
    container_version: tuple[int, int] = CONTAINER_VERSION
    protocol_version: str = PROTOCOL_VERSION
    livelens_version: str = __version__


class RecordingEnd(msgspec.Struct, frozen=True):
    """Last block, JSON. `crc32`: of every byte before this block. `note`: why the recording is not all of the run."""

    n_steps: int
    size_bytes: int
    crc32: int
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """What is whole in a recording. `problems` says, in sentences, what is not."""

    head: RecordingHead
    frames: list[bytes]
    note: str | None = None
    problems: list[str] = field(default_factory=list)


def block(kind: bytes, body: bytes) -> bytes:
    """One block: header and body."""
    head = kind + struct.pack("<I", len(body))
    return BLOCK_HEADER.pack(kind, len(body), zlib.crc32(body, zlib.crc32(head))) + body


class RecordingSum:
    """Follows the bytes of a recording as they are written, and makes its end block."""

    def __init__(self) -> None:
        self.n_bytes = 0
        self.n_steps = 0
        self._crc32 = 0

    def add(self, data: bytes, n_steps: int) -> None:
        """These bytes, with so many steps in them, were appended."""
        self.n_bytes += len(data)
        self.n_steps += n_steps
        self._crc32 = zlib.crc32(data, self._crc32)

    def end(self, note: str | None = None) -> bytes:
        """The end block for what was added."""
        end = RecordingEnd(n_steps=self.n_steps, size_bytes=self.n_bytes, crc32=self._crc32, note=note)
        return block(END, msgspec.json.encode(end))


# ---------------------------------------------------------------------- made on the server


def beginning(model_info: ModelInfo, run: RunSnapshot) -> bytes:
    """Magic, head, and the frames `hello` and `run_joined`."""
    limits = Limits(max_command_bytes=0, max_prompt_chars=0, max_interventions=0, grace_secs=0)
    hello = Hello(PROTOCOL_VERSION, __version__, viewer_id="", model_info=model_info, limits=limits)
    joined = RunJoined(request_id=0, run=run)
    frames = [block(FRAME, encode_event(event)) for event in (hello, joined)]
    return b"".join([MAGIC, block(HEAD, msgspec.json.encode(RecordingHead())), *frames])


def step_block(step: Step, arrays: Arrays) -> bytes:
    """One position, whole: no block needs another one."""
    tensors = StepTensors(**{name: encode_tensor(values) for name, values in arrays.items()})
    whole = msgspec.structs.replace(step, seq=step.pos, base_seq=-1, tensors=tensors, detail_dropped=False)
    return block(FRAME, encode_event(whole))


def recorded_id(run_id: str) -> str:
    """The run's name in its recording. Its own is the key to it on the server, and no business of a file's reader."""
    return "rec-" + hashlib.sha256(run_id.encode()).hexdigest()[:16]


def recording_frame(command: RequestRecording, record: RunRecord, model_info: ModelInfo) -> Frame:
    """The part that a viewer asked for; made off the event loop, on arrays that do not change."""
    to_pos = command.to_pos if command.to_pos is not None else max(record.latest, default=-1) + 1
    positions, next_pos = _next_positions(record, command.from_pos, to_pos)
    steps = [(record.as_made(pos), record.history.quantised(pos) or {}) for pos in positions]
    opened = _recorded_snapshot(record) if command.from_pos == 0 else None
    n_rewinds = len(record.rewinds)

    def make() -> bytes:
        run_id = recorded_id(command.run_id)
        blocks = [step_block(msgspec.structs.replace(step, run_id=run_id), arrays) for step, arrays in steps]
        data = b"".join([beginning(model_info, opened) if opened is not None else b"", *blocks])
        return encode_event(
            RecordingPart(
                request_id=command.request_id,
                run_id=command.run_id,
                data=data,
                next_pos=next_pos,
                to_pos=to_pos,
                n_rewinds=n_rewinds,
            )
        )

    return Frame(make)


def part_estimate_bytes(command: RequestRecording) -> int:
    """What an unread part counts against its viewer."""
    return _PART_ARRAY_BYTES if command.to_pos is None or command.to_pos > command.from_pos else 4096


def _recorded_snapshot(record: RunRecord) -> RunSnapshot:
    # The run that it branched off is named by its key, too.
    return msgspec.structs.replace(snapshot(record), run_id=recorded_id(record.run_id), author="", branch=None)


def _next_positions(record: RunRecord, from_pos: int, to_pos: int) -> tuple[list[int], int | None]:
    """Positions of one part, and where the next begins."""
    taken: list[int] = []
    size_bytes = 0
    for pos in sorted(pos for pos in record.latest if from_pos <= pos < to_pos):
        if taken and (size_bytes > _PART_ARRAY_BYTES or len(taken) >= _PART_STEPS):
            return taken, pos
        taken.append(pos)
        size_bytes += sum(values.nbytes for values in (record.history.quantised(pos) or {}).values())
    return taken, None


# ---------------------------------------------------------------------- read anywhere


def read_container(data: bytes) -> Container:
    """Every whole block of a recording; raises RecordingError where not even its beginning can be read."""
    if data[: len(MAGIC)] != MAGIC:
        raise RecordingError("this is not a livelens recording: it begins otherwise")
    head: RecordingHead | None = None
    end: RecordingEnd | None = None
    frames: list[bytes] = []
    problems: list[str] = []
    at = len(MAGIC)
    while at < len(data) and end is None:
        kind, body, problem = _block_at(data, at)
        if problem is not None:
            problems.append(problem)
        if body is None:
            break
        start, at = at, at + BLOCK_HEADER.size + len(body)
        if problem is not None:
            continue
        if kind == HEAD and head is None:
            head = _checked_head(body)
        elif kind == FRAME:
            frames.append(body)
        elif kind == END:
            end = _decoded(body, RecordingEnd)
            problems += _end_problems(end, data, start, at)
    if head is None:
        raise RecordingError("the recording's beginning is damaged")
    if end is None and not problems:
        problems.append("the file ends in the middle: it was not written to its end")
    return Container(head, frames, end.note if end is not None else None, problems)


def _block_at(data: bytes, at: int) -> tuple[bytes, bytes | None, str | None]:
    """Kind, body and what is wrong; without a body the next block cannot be found."""
    if at + BLOCK_HEADER.size > len(data):
        return b"", None, "the file ends in the middle of a block: it was not written to its end"
    kind, size, crc32 = BLOCK_HEADER.unpack_from(data, at)
    begin = at + BLOCK_HEADER.size
    if size > MAX_BODY_BYTES:
        return kind, None, f"the block at byte {at} is damaged, and what follows cannot be found"
    if begin + size > len(data):
        return kind, None, "the file ends in the middle of a block: it was not written to its end"
    body = data[begin : begin + size]
    if zlib.crc32(body, zlib.crc32(data[at : at + 8])) != crc32:
        return kind, body, f"the block at byte {at} is damaged: its checksum differs"
    return kind, body, None


def _checked_head(body: bytes) -> RecordingHead:
    head = _decoded(body, RecordingHead)
    if head.container_version[0] != CONTAINER_VERSION[0]:
        newer = ".".join(map(str, head.container_version))
        raise RecordingError(f"this is a recording of version {newer}; this livelens reads version 1: update it")
    return head


def _end_problems(end: RecordingEnd, data: bytes, start: int, at: int) -> list[str]:
    problems = []
    if end.size_bytes != start or end.crc32 != zlib.crc32(data[:start]):
        problems.append("the whole file's checksum differs: blocks are missing or changed")
    if at != len(data):
        problems.append(f"{len(data) - at} bytes follow the recording's end")
    return problems


def _decoded(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise RecordingError(f"the recording's {kind.__name__} cannot be read: {error}") from error
