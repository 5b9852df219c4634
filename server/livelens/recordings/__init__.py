"""Runs kept in files: `open_recording(path)` reads one as numpy arrays; see docs/recordings.md.

`reading.py` and `writing.py` are for programs; `replaying.py` is `livelens replay`, `command.py` `livelens record`.
"""

from livelens.recordings.reading import Recording, open_recording, parse_recording
from livelens.session.recording import RecordingError

__all__ = ["Recording", "RecordingError", "open_recording", "parse_recording"]
