"""Runs kept over the wire: what was streamed is what the file holds, and a full disk costs the file alone."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.integration.gate import Gate
from tests.integration.serving import PROMPT, serving, small_engine

from livelens.client import LivelensError, ablate
from livelens.client.run import ClientRun
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import CHANNELS, MEASURED_CHANNELS
from livelens.recordings import open_recording

STREAMED = tuple(channel for channel in CHANNELS if channel not in MEASURED_CHANNELS)


def assert_same_arrays(run: ClientRun, path: Path) -> None:
    """Position by position, name by name, bit by bit."""
    recording = open_recording(path)
    assert recording.problems == []
    assert [step.pos for step in recording.steps] == sorted(run.steps)
    for step in recording.steps:
        held = run.steps[step.pos]
        assert step.tensors.keys() == held.tensors.keys() != set()
        for name, values in held.tensors.items():
            assert (step.tensors[name].dtype, step.tensors[name].shape) == (values.dtype, values.shape)
            assert step.tensors[name].tobytes() == values.tobytes(), (step.pos, name)
        assert (step.info.token_id, step.info.top_tokens) == (held.info.token_id, held.info.top_tokens)
    assert recording.text == run.text
    assert recording.snapshot.intervention_log[-1].interventions == run.intervention_log[-1].interventions


async def test_what_was_streamed_is_what_the_file_holds(tmp_path: Path) -> None:
    """Saved with an ablation set in the middle, and once more into the same file."""
    async with serving(small_engine()) as served, served.client() as client:
        run = await client.start_run(PROMPT, channels=STREAMED, max_new_tokens=40, start_paused=True)
        for _ in range(10):
            await client.step_once(run)
        await run.until(lambda run: len(run.tokens) == run.n_prompt_tokens + 10)
        await client.set_interventions(run, [ablate("L1H0")])
        await client.resume(run)
        await run.finished()
        await client.request_positions(run, range(run.n_prompt_tokens))
        await run.until(lambda run: all("lens_token_id" in step.tensors for step in run.steps.values()))
        path = tmp_path / "run.livelens"
        sizes: list[int] = []
        for _ in range(2):
            assert await client.save_recording(run, path, on_progress=sizes.append) is None
            assert_same_arrays(run, path)
        assert sizes[-1] < path.stat().st_size
        assert os.listdir(tmp_path) == ["run.livelens"]


async def test_a_run_that_goes_on_is_saved_as_it_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Saving does not hold it; what is saved is whole."""
    gate = Gate(monkeypatch, hold_at=100)
    async with serving() as served, served.client() as client:
        run = await client.start_run(PROMPT, channels=STREAMED, max_new_tokens=200)
        await run.until(lambda run: len(run.steps) == 100)
        await client.save_recording(run, tmp_path / "early.livelens")
        gate.let()
        await run.finished()
        early = open_recording(tmp_path / "early.livelens")
        assert early.problems == [] and early.snapshot.state == "running"
        assert len(early.steps) == 100 < len(run.steps)
        assert run.text.startswith(early.text)


async def test_a_recording_ends_at_its_limit_and_says_so(tmp_path: Path) -> None:
    """The file is a whole one, of the first positions."""
    async with serving(small_engine()) as served, served.client() as client:
        run = await client.start_run(PROMPT, channels=STREAMED, max_new_tokens=200)
        await run.finished()
        note = await client.save_recording(run, tmp_path / "run.livelens", max_bytes=100_000)
        assert note is not None and "limit of 100000 bytes" in note
        recording = open_recording(tmp_path / "run.livelens")
        assert recording.note == note and recording.problems == []
        assert 0 < len(recording.steps) < len(run.steps)


@contextmanager
def largest_file(n_bytes: int) -> Iterator[None]:
    """Writing past `n_bytes` of any file fails, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_full_disk_costs_the_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OSError, no half file, what stood there before is untouched, and the run goes on."""
    path = tmp_path / "run.livelens"
    gate = Gate(monkeypatch, hold_at=100)
    async with serving() as served, served.client() as client:
        run = await client.start_run(PROMPT, channels=STREAMED, max_new_tokens=150)
        await run.until(lambda run: len(run.steps) > 60)
        path.write_bytes(b"before")
        with largest_file(40_000), pytest.raises(OSError, match="large"):
            await client.save_recording(run, path)
        assert path.read_bytes() == b"before"
        assert os.listdir(tmp_path) == ["run.livelens"]
        gate.let()
        assert await run.finished() == "max_new_tokens"
        assert await client.save_recording(run, path) is None
        assert open_recording(path).problems == []


async def test_what_a_crash_left_behind_is_cleared(tmp_path: Path) -> None:
    """A `.part` of this file that is an hour old; not one that someone writes now, nor another file's."""
    old, young, other = (tmp_path / f"{name}.part" for name in ("run.livelens.0000", "run.livelens.1111", "a.0000"))
    for part in (old, young, other):
        part.write_bytes(b"half")
    hour_ago = time.time() - 4000
    os.utime(old, (hour_ago, hour_ago))
    os.utime(other, (hour_ago, hour_ago))
    async with serving(small_engine()) as served, served.client() as client:
        run = await client.start_run(PROMPT, max_new_tokens=2)
        await run.finished()
        await client.save_recording(run, tmp_path / "run.livelens")
    assert not old.exists() and young.exists() and other.exists()


async def test_activations_are_stacked_over_positions(tmp_path: Path) -> None:
    """Each row is what the client holds at that position."""
    path = tmp_path / "run.safetensors"
    async with serving(small_engine()) as served, served.client() as client:
        bare = await client.start_run(PROMPT, channels=[], max_new_tokens=2)
        await bare.finished()
        with pytest.raises(LivelensError, match="no_activations"):
            await client.save_activations(bare, path)
        run = await client.start_run(PROMPT, channels=["neurons", "attention", "residual"], max_new_tokens=12)
        await run.finished()
        await client.save_activations(run, path)
    stacked = load_file(path)
    assert list(stacked["positions"]) == sorted(run.steps)
    assert list(stacked["token_ids"]) == run.token_ids[: len(run.steps)]
    for row, pos in enumerate(stacked["positions"]):
        np.testing.assert_array_equal(stacked["neurons"][row], run.steps[pos].neurons)
        np.testing.assert_array_equal(stacked["residual"][row].astype(np.float32), run.steps[pos].residual)
        np.testing.assert_array_equal(stacked["attention"][row][..., : pos + 1], run.steps[pos].attention)
        assert not stacked["attention"][row][..., pos + 1 :].any()


async def test_the_shipped_model_recorded_equals_what_it_streamed(engine: TorchEngine, tmp_path: Path) -> None:
    """Streamed as differences, saved whole: two paths, the same bits."""
    async with serving(engine) as served, served.client() as client:
        run = await client.start_run(PROMPT, channels=STREAMED, max_new_tokens=8)
        await run.finished()
        await client.request_positions(run, range(run.n_prompt_tokens))
        await run.until(lambda run: all("lens_token_id" in step.tensors for step in run.steps.values()))
        path = tmp_path / "run.livelens"
        assert await client.save_recording(run, path) is None
        assert run.text.startswith(" Mary")
        assert_same_arrays(run, path)
        assert path.stat().st_size / len(run.steps) < 60_000


def livelens(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "livelens", *arguments], capture_output=True, text=True, check=False, timeout=120
    )


def test_record_and_replay_on_the_command_line(tmp_path: Path) -> None:
    """A file, a page, and what is said where a file is not one."""
    path, page = tmp_path / "run.livelens", tmp_path / "run.html"
    done = livelens("record", "The cat", "-o", str(path), "--model", "fake:2x2x24", "--length", "6")
    assert done.returncode == 0 and done.stdout.strip() == str(path), done.stderr
    assert len(open_recording(path).steps) == len(open_recording(path).snapshot.tokens) - 1
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Sir or Madam")
    for arguments, code, words in [
        (("replay", str(tmp_path / "none")), 2, "No such file"),
        (("replay", str(letter)), 2, "not a livelens recording"),
        (("replay", str(tmp_path)), 2, "directory"),
        (("record", "x", "-o", str(tmp_path / "no" / "run"), "--model", "fake:2x2x24", "--length", "1"), 1, "No such"),
        (("record", "x", "-o", str(tmp_path / "run"), "--ablate", "head 3"), 2, "names no component"),
    ]:
        refused = livelens(*arguments)
        assert (refused.returncode, words in refused.stderr) == (code, True), (arguments, refused)
        assert "Traceback" not in refused.stderr
    written = livelens("replay", str(path), "--html", str(page))
    if "not built" in written.stderr:
        assert written.returncode == 2
    else:
        assert written.returncode == 0, written.stderr
        assert page.read_text().count('id="livelens-recording"') >= 1


@pytest.mark.parametrize(("twin", "mode"), [("same", "teacher_forced"), ("free", "free_running")])
def test_a_clean_twin_is_recorded_on_the_command_line(twin: str, mode: str, tmp_path: Path) -> None:
    """What it says of each position and every difference from it are in the file."""
    path = tmp_path / "run.livelens"
    arguments = ("record", "The cat", "-o", str(path), "--model", "fake:2x2x24", "--length", "6", "--twin", twin)
    done = livelens(*arguments, "--ablate", "L0H1", "--ablate", "L1.mlp")
    assert done.returncode == 0, done.stderr
    recording = open_recording(path)
    assert (recording.snapshot.twin, recording.snapshot.twin_from_pos, recording.problems) == (mode, 0, [])
    assert recording.steps[0].tensors["difference_heads"][0, 1] != 0
    assert all("difference_neurons" in step.tensors and step.info.twin is not None for step in recording.steps)
    assert max(step.info.twin.kl for step in recording.steps if step.info.twin is not None) > 0


def test_replay_loads_no_torch(tmp_path: Path) -> None:
    """Nor anything else that a model needs."""
    check = (
        "import sys, livelens.recordings.replaying, livelens.recordings\n"
        "heavy = {'torch', 'transformers', 'transformer_lens'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
