"""What is sent: frames that are ready, and plans of frames that are cheaper to make off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np

from livelens.protocol.codec import encode_event
from livelens.protocol.messages import (
    CHANNEL_TENSORS,
    AttentionReady,
    Channel,
    RequestAttention,
    RequestValues,
    Step,
    StepTensors,
    ValuesReady,
)
from livelens.protocol.tensors import encode_tensor
from livelens.run.history import attention_row, component_value
from livelens.run.jobs import Arrays
from livelens.session.record import RunRecord

FrameKey = tuple[str, int, frozenset[str], int]
_NO_ARRAYS: Final[Arrays] = {}
_WHOLE: Final = -2  # in a key: all of a position, however many steps it came in


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame to send. `make` is pure and safe on any thread; equal keys make equal bytes."""

    make: Callable[[], bytes]
    key: FrameKey | None = None
    is_cheap: bool = False


def arrays_of_channels(arrays: Arrays, channels: frozenset[Channel]) -> Arrays:
    """Those arrays that belong to `channels`."""
    wanted = {name for channel in channels for name in CHANNEL_TENSORS[channel]}
    return {name: values for name, values in arrays.items() if name in wanted}


def step_frame(step: Step, arrays: Arrays, *, channels: frozenset[Channel], base_seq: int, base: Arrays) -> Frame:
    """A step with `arrays`, against the arrays of step `base_seq`; -1 is a keyframe."""

    def make() -> bytes:
        against = base if base_seq >= 0 else _NO_ARRAYS
        tensors = StepTensors(**{name: encode_tensor(values, against.get(name)) for name, values in arrays.items()})
        return encode_event(msgspec.structs.replace(step, base_seq=base_seq, tensors=tensors))

    return Frame(make, key=(step.run_id, step.seq, frozenset(channels), base_seq))


def whole_step_frame(step: Step, arrays: Arrays, *, channels: frozenset[Channel]) -> Frame:
    """Everything known of a position, whole; its arrays may be more than the live step of this seq had."""
    frame = step_frame(step, arrays, channels=channels, base_seq=-1, base=_NO_ARRAYS)
    return Frame(frame.make, key=(step.run_id, step.seq, frozenset(channels), _WHOLE))


def bare_step_frame(step: Step, *, detail_dropped: bool) -> Frame:
    """A step without its tensors: tokens and text are never dropped."""
    bare = msgspec.structs.replace(step, lens_texts=None, detail_dropped=detail_dropped)
    return Frame(lambda: encode_event(bare), is_cheap=True)


def values_frame(command: RequestValues, record: RunRecord) -> Frame:
    """Components' values by position; looked up off the event loop, on arrays that do not change."""
    known = range(command.from_pos, min(len(record.tokens), _end(command)))
    rows = [(pos, record.history.exact(pos), record.history.quantised(pos)) for pos in known]

    def make() -> bytes:
        values = np.full((len(command.components), len(rows)), np.nan, np.float32)
        is_exact = True
        for column, (_, exact, arrays) in enumerate(rows):
            for row, component in enumerate(command.components):
                values[row, column], from_floats = component_value(component, exact, arrays)
                is_exact = is_exact and from_floats
        event = ValuesReady(
            request_id=command.request_id,
            run_id=command.run_id,
            components=command.components,
            positions=[pos for pos, _, _ in rows],
            values=encode_tensor(values),
            exact=is_exact,
        )
        return encode_event(event)

    return Frame(make)


def _end(command: RequestValues) -> int:
    return command.to_pos if command.to_pos is not None else 2**31


def attention_frame(command: RequestAttention, record: RunRecord) -> Frame | None:
    """One head's attention row; none when that position has none."""
    exact, arrays = record.history.exact(command.query_pos), record.history.quantised(command.query_pos)
    found = attention_row(command.layer, command.head_index, command.query_pos, exact, arrays)
    if found is None:
        return None
    row, is_exact = found
    event = AttentionReady(
        request_id=command.request_id,
        run_id=command.run_id,
        layer=command.layer,
        head_index=command.head_index,
        query_pos=command.query_pos,
        row=encode_tensor(row),
        exact=is_exact,
    )
    return Frame(lambda: encode_event(event))
