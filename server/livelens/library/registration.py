"""A view below the address of the Jupyter server whose kernel it lives in, where that server has our extension."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import sys
from pathlib import Path
from typing import Final

from livelens.transport.kernel_files import ServerFile, ViewFile, read_file, server_path, view_path, write_file

_ID_BYTES: Final = 24


def runtime_folder() -> Path | None:
    """Where the server that started this kernel keeps its kernels' files; none outside a kernel."""
    if "ipykernel" not in sys.modules:
        return None
    from ipykernel.connect import get_connection_file

    try:
        return Path(get_connection_file()).parent
    except (RuntimeError, OSError):  # no kernel, or one without a file
        return None


def jupyter_base_url() -> str | None:
    """The base of the Jupyter server that started this kernel, where our extension is enabled in it."""
    folder, parent = runtime_folder(), os.environ.get("JPY_PARENT_PID", "")
    if folder is None or not parent.isdigit():
        return None
    file = read_file(server_path(folder, int(parent)), ServerFile)
    return None if file is None else file.base_url


class Registration:
    """One view's private file, until `remove` or the end of the process."""

    def __init__(self, base_url: str, folder: Path, *, port: int, token: str) -> None:
        """Raises OSError where the file cannot be written."""
        view_id = secrets.token_urlsafe(_ID_BYTES)
        self.address = f"{base_url}livelens/kernel/{view_id}/"
        self._path = view_path(folder, view_id)
        write_file(self._path, ViewFile(port=port, token=token, pid=os.getpid()))
        atexit.register(self.remove)

    def remove(self) -> None:
        """Harmless when it is gone."""
        atexit.unregister(self.remove)
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def register(*, port: int, token: str) -> Registration | None:
    """Make the view known to the extension; none where there is no Jupyter server with it."""
    base_url, folder = jupyter_base_url(), runtime_folder()
    if base_url is None or folder is None:
        return None
    try:
        return Registration(base_url, folder, port=port, token=token)
    except OSError:
        return None
