"""What one viewer is sent next: a cursor over the run's record, not a pile of bytes.

A viewer that stops reading therefore costs the frame in flight and a short queue of answers. Steps
lie in the record, once for all viewers; a viewer that falls behind skips their tensors, never
their tokens, and gets a keyframe when it has caught up.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from livelens.protocol.codec import encode_event
from livelens.protocol.messages import Channel, Event, InterventionsApplied, RunStateChanged, Step, TwinChanged
from livelens.run.jobs import Arrays
from livelens.session.frames import Frame, arrays_of_channels, bare_step_frame, step_frame, whole_step_frame
from livelens.session.record import EventEntry, RunRecord, StepEntry

# What every viewer is told, and one of them as the answer to its command.
Addressed = RunStateChanged | InterventionsApplied | TwinChanged
ANSWERS_LIMIT_BYTES: Final = 4 * 1024 * 1024
LAG_SECS: Final = 2.0
LAG_ENTRIES: Final = 8


class Outbox:
    """Three lanes: answers to this viewer, then the run as it goes, then older positions."""

    def __init__(self, viewer_id: str) -> None:
        self._viewer_id = viewer_id
        self._answers: deque[tuple[Frame, int]] = deque()
        self._answers_bytes = 0
        self._record: RunRecord | None = None
        self._cursor = 0
        self._older: deque[int] = deque()
        self._base: tuple[int, Arrays] | None = None
        self._is_lagging = False
        self.channels: frozenset[Channel] = frozenset()
        self.visible = True

    @property
    def is_overfull(self) -> bool:
        """The viewer asks and does not read."""
        return self._answers_bytes > ANSWERS_LIMIT_BYTES

    @property
    def has_something(self) -> bool:
        """`next_frame` would give a frame."""
        if self._answers:
            return True
        return self._record is not None and (self._cursor < len(self._record.entries) or bool(self._older))

    @property
    def wanted(self) -> frozenset[Channel]:
        """Channels to compute for this viewer."""
        return self.channels if self.visible else frozenset()

    def answer(self, event: Event) -> None:
        """Queue an answer to this viewer alone."""
        frame_bytes = encode_event(event)
        self._push(Frame(lambda: frame_bytes, is_cheap=True), len(frame_bytes))

    def answer_later(self, frame: Frame, size_bytes: int) -> None:
        """Queue an answer that is made when its turn comes."""
        self._push(frame, size_bytes)

    def _push(self, frame: Frame, size_bytes: int) -> None:
        self._answers.append((frame, size_bytes))
        self._answers_bytes += size_bytes

    def watch(self, record: RunRecord | None, older: list[int]) -> None:
        """Follow this run from now on; `older` positions are sent when there is nothing newer."""
        self._keep_answers()
        self._record = record
        self._cursor = len(record.entries) if record is not None else 0
        self._older = deque(older)
        self._base, self._is_lagging = None, False

    def _keep_answers(self) -> None:
        """What answers this viewer in the run that it leaves is still owed to it."""
        if self._record is None:
            return
        for entry in self._record.entries[self._cursor :]:
            if isinstance(entry, EventEntry) and entry.tag is not None and entry.tag.viewer_id == self._viewer_id:
                self.answer(self._addressed(entry))

    def send_again(self, positions: list[int]) -> None:
        """Send these positions, whole, in this order."""
        queued = set(self._older)
        self._older.extend(pos for pos in positions if pos not in queued)

    def send_first(self, pos: int) -> None:
        """Send this position, whole, before other older ones."""
        self._older.appendleft(pos)

    def need_keyframe(self) -> None:
        """The next step comes whole."""
        self._base = None

    def forget_from(self, from_pos: int) -> None:
        """These positions are void."""
        self._older = deque(pos for pos in self._older if pos < from_pos)

    def next_frame(self, now: float) -> Frame | None:
        """The frame to send now; none when there is nothing. The caller sends every frame it is given."""
        if self._answers:
            frame, size_bytes = self._answers.popleft()
            self._answers_bytes -= size_bytes
            return frame
        record = self._record
        if record is None:
            return None
        while self._cursor < len(record.entries):
            entry = record.entries[self._cursor]
            self._cursor += 1
            if isinstance(entry, EventEntry):
                return self._event(entry)
            # More of a position that is still owed whole goes out with that, not ahead of it as if it were all.
            if not (entry.is_more and entry.step.pos in self._older):
                return self._live(entry, record, now)
        self._is_lagging = False
        while self._older:
            found = record.latest.get(self._older.popleft())
            if found is not None:
                return self._whole(found, record.history.quantised(found.pos))
        return None

    def _event(self, entry: EventEntry) -> Frame:
        event = self._addressed(entry)
        return Frame(lambda: encode_event(event), is_cheap=True)

    def _addressed(self, entry: EventEntry) -> Event:
        """The event, with the request_id where it answers this viewer."""
        event, tag = entry.event, entry.tag
        if tag is None or tag.viewer_id != self._viewer_id:
            return event
        if isinstance(event, Addressed):
            return msgspec.structs.replace(event, request_id=tag.request_id)
        return event

    def _live(self, entry: StepEntry, record: RunRecord, now: float) -> Frame:
        behind = len(record.entries) - self._cursor
        if behind >= LAG_ENTRIES and now - entry.at > LAG_SECS:
            self._is_lagging = True
        elif behind == 0:
            self._is_lagging = False
        arrays = arrays_of_channels(entry.arrays, self.channels)
        if self._is_lagging or not self.visible or not arrays:
            # A later live step must not differ from one that this viewer never got.
            self._base = None
            return bare_step_frame(entry.step, detail_dropped=bool(arrays))
        base_seq, base = self._base if self._base is not None else (-1, {})
        self._base = (entry.step.seq, arrays)
        return step_frame(entry.step, arrays, channels=self.channels, base_seq=base_seq, base=base)

    def _whole(self, step: Step, arrays: Arrays | None) -> Frame:
        wanted = arrays_of_channels(arrays or {}, self.channels)
        if not wanted:  # never captured, or no longer held: asking again would bring nothing
            return bare_step_frame(step, detail_dropped=False)
        return whole_step_frame(step, wanted, channels=self.channels)
