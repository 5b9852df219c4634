"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

MAX_RECORDING_BYTES: Final = 1024 * 1024 * 1024
_PART_SUFFIX: Final = ".part"
_STALE_PART_SECS: Final = 3600


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is whole, or not at all. Raises OSError.

    It grows under a name of its own that ends in `.part`; those that a crash left behind over an hour ago are removed.
    """
    _clear_stale_parts(path)
    part = path.with_name(f"{path.name}.{secrets.token_hex(4)}{_PART_SUFFIX}")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink()
        raise


def _clear_stale_parts(path: Path) -> None:
    for left in path.parent.glob(f"{_escaped(path.name)}.*{_PART_SUFFIX}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _STALE_PART_SECS:
                left.unlink()


def _escaped(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)
