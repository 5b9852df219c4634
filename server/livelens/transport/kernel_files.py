"""How a kernel's view and the Jupyter server above it find each other: private files in Jupyter's runtime folder.

The kernel writes where its server listens and the token; the extension writes below which address it answers. Nobody
but the user who runs both can read or write them, and no port or path ever comes from a request.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct

VIEW_ID: Final = r"[A-Za-z0-9_-]{22,64}"
_MAX_BYTES: Final = 4096


class ViewFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a kernel's view listens, on 127.0.0.1."""

    port: Annotated[int, Meta(ge=1024, le=65535)]
    token: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{32,128}$")]
    pid: Annotated[int, Meta(ge=1)]


class ServerFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The address of a Jupyter server with our extension."""

    base_url: Annotated[str, Meta(pattern="^/([A-Za-z0-9._~@%-]+/)*$")]


_File = TypeVar("_File", ViewFile, ServerFile)


def view_path(folder: Path, view_id: str) -> Path:
    """The file of a view; raises ValueError for what is no id."""
    if re.fullmatch(VIEW_ID, view_id) is None:
        raise ValueError("not the id of a view")
    return folder / f"livelens-view-{view_id}.json"


def server_path(folder: Path, pid: int) -> Path:
    """The file of the Jupyter server of this process id."""
    return folder / f"livelens-server-{pid}.json"


def write_file(path: Path, content: ViewFile | ServerFile) -> None:
    """Write for this user alone; it appears when it is whole. Raises OSError."""
    part = path.with_suffix(f".{os.getpid()}.part")
    with contextlib.suppress(FileNotFoundError):
        part.unlink()
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(content))
    part.replace(path)


def read_file(path: Path, kind: type[_File]) -> _File | None:
    """What `path` holds; none where there is no such file, or one that another user could have written."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        if not _is_private(os.fstat(descriptor)):
            return None
        try:
            return msgspec.json.decode(file.read(_MAX_BYTES), type=kind)
        except msgspec.DecodeError:
            return None


def _is_private(status: os.stat_result) -> bool:
    if not stat.S_ISREG(status.st_mode):
        return False
    if os.name != "posix":  # there the folder's own access list is what there is
        return True
    return status.st_uid == os.getuid() and status.st_mode & 0o077 == 0


def is_running(pid: int) -> bool:
    """Whether a process of this id is there."""
    if os.name != "posix":  # there a signal of 0 would end it
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
