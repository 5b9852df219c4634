"""A run as a file: what goes in comes out bit for bit, and damage is told, never raised."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from tests.unit.session.hub import Hub, SimViewer, greedy

from livelens.client.recording import n_steps_in
from livelens.protocol.messages import (
    Component,
    ErrorReport,
    InterventionSpec,
    RecordingPart,
    RequestRecording,
    SetInterventions,
)
from livelens.recordings import parse_recording
from livelens.session.recording import (
    FRAME,
    MAGIC,
    RecordingError,
    RecordingSum,
    block,
    read_container,
    recorded_id,
)


def saved(viewer: SimViewer, *, note: str | None = None) -> bytes:
    """The recording as a client writes it: part by part, then the end."""
    assert viewer.run is not None
    total, data, next_pos, to_pos = RecordingSum(), b"", 0, None
    while next_pos is not None:
        command = RequestRecording(
            request_id=viewer.next_id(), run_id=viewer.run.run_id, from_pos=next_pos, to_pos=to_pos
        )
        part = viewer.ask(command)
        assert isinstance(part, RecordingPart)
        total.add(part.data, n_steps_in(part.data))
        data, next_pos, to_pos = data + part.data, part.next_pos, part.to_pos
    return data + total.end(note)


@pytest.fixture
def viewer() -> SimViewer:
    hub = Hub()
    viewer = hub.viewer()
    viewer.start(sampling=greedy(12))
    hub.work_all()
    viewer.drain()
    return viewer


def test_a_recording_holds_every_array_bit_for_bit(viewer: SimViewer) -> None:
    """All channels of all positions, the text, the tokens."""
    recording = parse_recording(saved(viewer))
    run = viewer.run
    assert run is not None
    assert recording.problems == [] and recording.note is None
    assert recording.model_info == viewer.hub.session.model_info
    assert recording.text == run.text
    assert [token.token_id for token in recording.snapshot.tokens] == run.token_ids
    assert [step.pos for step in recording.steps] == sorted(run.steps) == list(range(len(run.token_ids) - 1))
    for step in recording.steps:
        held = run.steps[step.pos].tensors
        assert step.tensors.keys() == held.keys() != set()
        for name, values in held.items():
            assert step.tensors[name].dtype == values.dtype
            np.testing.assert_array_equal(step.tensors[name].view(np.uint8), values.view(np.uint8))


def test_the_text_can_be_told_token_by_token(viewer: SimViewer) -> None:
    """What each step adds to the text sums to the text, and the times ascend: a replay goes at the run's own pace."""
    steps = parse_recording(saved(viewer)).steps
    made = [step for step in steps if step.info.generated]
    assert "".join(step.info.text_delta for step in made) == viewer.run.text  # type: ignore[union-attr]
    times = [step.info.server_ns for step in made]
    assert times == sorted(times)


def test_the_key_to_the_run_is_not_in_its_recording(viewer: SimViewer) -> None:
    """A run's id lets people join it; a file is passed on."""
    data = saved(viewer)
    assert viewer.run is not None
    recording = parse_recording(data)
    assert recording.snapshot.run_id == recorded_id(viewer.run.run_id) != viewer.run.run_id
    assert viewer.run.run_id.encode() not in data and viewer.viewer_id.encode() not in b"".join(
        frame for frame in read_container(data).frames if frame[0] == 0
    )


def test_interventions_come_with_the_positions_from_which_they_hold() -> None:
    """Set in the middle of the text."""
    hub = Hub()
    viewer = hub.viewer()
    viewer.start(sampling=greedy(12))
    hub.work(4)
    viewer.drain()
    assert viewer.run is not None
    spec = InterventionSpec("off", "zero", [Component("head", 1, 0)])
    viewer.send(SetInterventions(request_id=viewer.next_id(), run_id=viewer.run.run_id, interventions=[spec]))
    hub.work_all()
    viewer.drain()
    log = parse_recording(saved(viewer)).snapshot.intervention_log
    assert [(entry.revision, entry.from_pos, entry.interventions) for entry in log] == [
        (entry.revision, entry.from_pos, entry.interventions) for entry in viewer.run.intervention_log
    ]
    assert log[-1].interventions == [spec] and log[-1].from_pos > 0


def test_a_run_computed_again_between_two_parts_is_noticed(viewer: SimViewer) -> None:
    """The count of rewinds tells the one who saves to begin anew."""
    hub = viewer.hub
    record = next(iter(hub.session.records.values()))
    assert viewer.run is not None
    command = RequestRecording(request_id=viewer.next_id(), run_id=viewer.run.run_id)
    before = viewer.ask(command)
    record.rewind(9, 10, "x")
    after = viewer.ask(RequestRecording(request_id=viewer.next_id(), run_id=viewer.run.run_id, from_pos=5))
    assert isinstance(before, RecordingPart) and isinstance(after, RecordingPart)
    assert after.n_rewinds == before.n_rewinds + 1


def test_a_run_that_is_not_watched_is_not_given_away(viewer: SimViewer) -> None:
    """As with every other question about a run."""
    stranger = viewer.hub.viewer()
    assert viewer.run is not None
    answer = stranger.ask(RequestRecording(request_id=stranger.next_id(), run_id=viewer.run.run_id))
    assert isinstance(answer, ErrorReport) and answer.code == "not_watching"


def test_long_runs_come_in_parts() -> None:
    """No answer holds more than 64 positions; together they hold all, each once."""
    hub = Hub()
    viewer = hub.viewer()
    viewer.start(sampling=greedy(50))
    hub.work_all()
    viewer.drain()
    record = next(iter(hub.session.records.values()))
    for pos in list(record.latest):
        arrays = dict(record.history.quantised(pos) or {})
        record.history.put(pos, {**arrays, "heads": np.zeros((200, 1000), np.float16)}, record.history.exact(pos))
    assert viewer.run is not None
    first = viewer.ask(RequestRecording(request_id=viewer.next_id(), run_id=viewer.run.run_id))
    assert isinstance(first, RecordingPart) and first.next_pos is not None
    assert n_steps_in(first.data) == first.next_pos < len(record.latest)
    container = read_container(saved(viewer))
    assert container.problems == [] and len(container.frames) == len(record.latest) + 2


def test_cut_off_anywhere_what_is_whole_is_still_read(viewer: SimViewer) -> None:
    """Every length of a half-written file: its whole positions, and a sentence; or one RecordingError."""
    data = saved(viewer)
    n_steps = len(parse_recording(data).steps)
    seen = set()
    for size in [*range(0, len(data), 97), len(data) - 1]:
        try:
            recording = parse_recording(data[:size])
        except RecordingError:
            continue
        assert recording.problems
        seen.add(len(recording.steps))
    assert seen == set(range(n_steps + 1))


def test_a_changed_block_costs_itself_only(viewer: SimViewer) -> None:
    """One flipped bit in one position: the others are there."""
    data = bytearray(saved(viewer))
    whole = parse_recording(bytes(data))
    data[len(data) // 2] ^= 1
    hurt = parse_recording(bytes(data))
    assert len(hurt.steps) == len(whole.steps) - 1
    assert any("checksum" in problem for problem in hurt.problems)


def test_two_hundred_damaged_files_raise_nothing_but_recording_error(viewer: SimViewer) -> None:
    """Bytes flipped, cut, doubled, blocks exchanged, with and without right checksums."""
    data = saved(viewer)
    random_source = random.Random(7)
    n_refused = n_opened = 0
    for _ in range(200):
        try:
            recording = parse_recording(damaged(data, random_source))
        except RecordingError as error:
            assert str(error)
            n_refused += 1
        else:
            n_opened += 1
            assert len(recording.steps) <= len(recording.snapshot.tokens)
    assert n_refused > 10 and n_opened > 10


def damaged(data: bytes, random_source: random.Random) -> bytes:
    """One of many ways in which a file can be wrong."""
    kind = random_source.randrange(5)
    at = random_source.randrange(len(data))
    if kind == 0:
        changed = bytearray(data)
        for _ in range(random_source.choice([1, 8, 200])):
            changed[random_source.randrange(len(data))] = random_source.randrange(256)
        return bytes(changed)
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + data[random_source.randrange(len(data)) :]
    if kind == 3:
        return data[: len(MAGIC)] + random_source.randbytes(random_source.randrange(2000))
    return with_hostile_frame(data, random_source)


def with_hostile_frame(data: bytes, random_source: random.Random) -> bytes:
    """A frame that its checksum calls right, and is not."""
    frames = read_container(data).frames
    frame = bytearray(random_source.choice(frames))
    for _ in range(random_source.choice([1, 4, 40])):
        frame[random_source.randrange(len(frame))] = random_source.randrange(256)
    replaced = random_source.randrange(len(frames))
    head_end = data.index(b"FRAM")
    return data[:head_end] + b"".join(
        block(FRAME, bytes(frame) if index == replaced else kept) for index, kept in enumerate(frames)
    )


def test_a_newer_container_is_refused_with_what_to_do() -> None:
    """Major versions."""
    head = block(b"HEAD", b'{"container_version":[2,0]}')
    with pytest.raises(RecordingError, match=r"version 2\.0.*update"):
        read_container(MAGIC + head)


def test_blocks_of_a_later_minor_version_are_stepped_over(viewer: SimViewer) -> None:
    """A kind that is not known here."""
    data = saved(viewer)
    at = data.index(b"FRAM")
    container = read_container(data[:at] + block(b"NEXT", b"{}") + data[at:])
    assert len(container.frames) == len(read_container(data).frames)


GOLDEN = Path(__file__).parents[3] / "shared_schema" / "fixtures" / "recording"


def test_the_golden_recording_reads_as_it_was_written() -> None:
    """Kept from the first container version on; `replay.spec.ts` reads the same file."""
    recording = parse_recording((GOLDEN / "run.bin").read_bytes())
    told = json.loads((GOLDEN / "checksums.json").read_text(encoding="utf-8"))
    found = {
        f"{step.pos} {name}": zlib.crc32((np.float32(array) if array.dtype == np.float16 else array).tobytes())
        for step in recording.steps
        for name, array in step.tensors.items()
    }
    assert found == told["checksums"] and recording.text == told["text"] and recording.problems == []


@pytest.mark.parametrize("name", ["read_recording.py", "read_recording_bare.py"])
def test_the_examples_read_it(name: str) -> None:
    """With livelens, and with msgpack, zstandard and numpy alone."""
    example = Path(__file__).parents[3] / "examples" / name
    done = subprocess.run(
        [sys.executable, str(example), str(GOLDEN / "run.bin")], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert "'neurons': (2, 24)" in done.stdout and "' soon'" in done.stdout
