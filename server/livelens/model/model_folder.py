"""Looking a model folder over before anything reads it, so that what is wrong is said in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

from livelens.model.source_errors import ModelSourceError

_CAUSAL = ("ForCausalLM", "LMHeadModel")
_TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
_MAX_HEADER_BYTES = 100 << 20
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


def check_model_folder(folder: Path) -> None:
    """Raise ModelSourceError unless `folder` holds a whole causal language model without pickles."""
    if not folder.is_dir():
        raise ModelSourceError(f"the model folder {folder} does not exist")
    _check_config(folder)
    for file in weight_files(folder):
        _check_safetensors(file)
    if not any((folder / name).exists() for name in _TOKENIZER_FILES):
        raise ModelSourceError(f"{folder} has no tokenizer (tokenizer.json): copy it from where the model came from")


def weight_files(folder: Path) -> list[Path]:
    """The folder's safetensors files, in order of name; raises ModelSourceError when some are missing."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists():
        return [single]
    if index.exists():
        names = _shards(index)
        missing = [name for name in names if not (folder / name).is_file()]
        if missing:
            raise ModelSourceError(
                f"{folder} is half there: {len(missing)} of {len(names)} weight files are missing ({missing[0]}):"
                " fetch the model again"
            )
        return [folder / name for name in names]
    if any(path for pattern in _PICKLES for path in folder.glob(pattern)):
        raise ModelSourceError(
            f"{folder} holds its weights only as a pickle (.bin), which can run code when it is opened. Convert it"
            " where you trust it: AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder) writes"
            " safetensors"
        )
    raise ModelSourceError(f"{folder} has no weights: model.safetensors is missing")


def _read_json(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelSourceError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise ModelSourceError(f"{path} cannot be read: it holds no JSON object")
    return cast("dict[str, object]", value)


def _check_config(folder: Path) -> None:
    path = folder / "config.json"
    if not path.is_file():
        raise ModelSourceError(f"{folder} has no config.json: it is not a model folder, or half of one")
    architectures = _read_json(path).get("architectures")
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    if not any(name.endswith(_CAUSAL) for name in names):
        what = ", ".join(names) or "no architecture named in config.json"
        raise ModelSourceError(f"{folder} is not a causal language model ({what}): livelens watches text generation")


def _shards(index: Path) -> list[str]:
    weight_map = _read_json(index).get("weight_map")
    names = sorted({str(name) for name in weight_map.values()}) if isinstance(weight_map, dict) else []
    if not names or any("/" in name or "\\" in name or name.startswith(".") for name in names):
        raise ModelSourceError(f"{index} does not list the weight files: fetch the model again")
    return names


def _check_safetensors(file: Path) -> None:
    """The header's offsets must end where the file does: a cut or forged file is refused before mapping it."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        n_header = int.from_bytes(opened.read(8), "little")
        header = opened.read(n_header) if n_header <= min(size - 8, _MAX_HEADER_BYTES) else b""
    try:
        entries = cast("dict[str, dict[str, object]]", json.loads(header))
        entries.pop("__metadata__", None)
        ends = [_end_of(entry) for entry in entries.values()]
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelSourceError(f"{file.name} is not a safetensors file, or damaged: fetch it again") from error
    if 8 + n_header + max(ends, default=0) != size:
        raise ModelSourceError(f"{file.name} is cut short or damaged: fetch it again")


def _end_of(entry: dict[str, object]) -> int:
    start, end = cast("list[object]", entry["data_offsets"])
    if not (isinstance(start, int) and isinstance(end, int) and 0 <= start <= end):
        raise ValueError("offsets out of order")
    return end
