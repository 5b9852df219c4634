"""The files by which a kernel's view and the Jupyter server find each other: private, whole, nothing else is read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from livelens.transport.kernel_files import ServerFile, ViewFile, is_running, read_file, view_path, write_file

VIEW = ViewFile(port=40000, token="t" * 43, pid=os.getpid())
ID = "0123456789abcdef-_ABCDEF"


def test_a_file_is_for_this_user_alone_and_says_what_was_written(tmp_path: Path) -> None:
    path = view_path(tmp_path, ID)
    write_file(path, VIEW)
    assert path.stat().st_mode & 0o777 == 0o600 and [item.name for item in tmp_path.iterdir()] == [path.name]
    assert read_file(path, ViewFile) == VIEW
    write_file(path, ViewFile(port=40001, token="u" * 43, pid=1))
    found = read_file(path, ViewFile)
    assert found is not None and found.port == 40001


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o622, 0o601])
def test_a_file_that_others_could_touch_is_not_believed(tmp_path: Path, mode: int) -> None:
    path = view_path(tmp_path, ID)
    write_file(path, VIEW)
    path.chmod(mode)
    assert read_file(path, ViewFile) is None


def test_only_plain_files_of_ours_are_read(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    write_file(real, VIEW)
    link = view_path(tmp_path, ID)
    link.symlink_to(real)
    assert read_file(link, ViewFile) is None
    link.unlink()
    os.mkfifo(link, 0o600)
    assert read_file(link, ViewFile) is None
    assert read_file(tmp_path / "none.json", ViewFile) is None


@pytest.mark.parametrize(
    "text",
    [
        b"", b"{}", b"[" * 3000, b'{"port": 80, "token": "' + b"t" * 43 + b'", "pid": 1}',
        b'{"port": 40000, "token": "a b", "pid": 1}', b'{"port": 40000, "token": "' + b"t" * 43 + b'", "pid": 0}',
        b'{"port": 40000, "host": "10.0.0.1", "token": "' + b"t" * 43 + b'", "pid": 1}', b"\xff\xfe",
    ],
)  # fmt: skip
def test_what_is_not_the_address_of_a_view_is_none(tmp_path: Path, text: bytes) -> None:
    path = view_path(tmp_path, ID)
    path.write_bytes(text)
    path.chmod(0o600)
    assert read_file(path, ViewFile) is None and read_file(path, ServerFile) is None


@pytest.mark.parametrize("name", ["", "short", "../" * 10 + "etc", "a/" * 20, "x" * 65, "ü" * 30, "." * 30, ID + "\n"])
def test_what_is_no_id_has_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not the id"):
        view_path(tmp_path, name)


def test_whether_a_process_is_there() -> None:
    assert is_running(os.getpid()) and is_running(1)
    child = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(child, 0)
    assert not is_running(child)
