"""A run as a file: asked for part by part, so that neither side ever holds more than one part of it on its way.

What the parts hold, byte by byte, is told in `docs/recordings.md`; `session/recording.py` makes and reads it.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from livelens.protocol.commands import RunCommand
from livelens.protocol.events import AnswerEvent
from livelens.protocol.vocabulary import Bytes, Count, Index


class RequestRecording(RunCommand, frozen=True, tag="request_recording"):
    """The next part of the run's recording: first with `from_pos` 0, then with the `next_pos` of the part before."""

    from_pos: Annotated[Index, Meta(description="first position to send; 0 brings the file's beginning too")] = 0
    to_pos: Annotated[
        Index | None, Meta(description="exclusive; none: up to the newest. Later parts repeat the first's `to_pos`")
    ] = None


class RecordingPart(AnswerEvent, frozen=True, tag="recording_part"):
    """Answer to `request_recording`: bytes to append to those of the parts before."""

    data: Annotated[Bytes, Meta(description="whole blocks of a recording; the end block is the viewer's to write")]
    next_pos: Annotated[Index | None, Meta(description="where the next part begins; none: this was the last")]
    to_pos: Annotated[Index, Meta(description="exclusive end of the whole recording")]
    n_rewinds: Annotated[
        Count,
        Meta(description="how often the run was computed again: where it differs from the first part, begin anew"),
    ]


RecordingCommand = RequestRecording
RecordingEvent = RecordingPart
