"""A Jupyter server of its own: nobody's configuration, the fake model, a path prefix as JupyterHub gives one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.integration.serving import reserved_port

TOKEN = "the-jupyter-token-of-the-tests-0123456789"
BASE_URL = "/user/me/"
GRACE_SECS = 30.0  # for who comes back, on a machine that is busy
_START_SECS = 120
_STOP_SECS = 60
_OTHERS = ("jupyterlab", "jupyter_lsp", "jupyter_server_proxy", "jupyter_server_terminals", "notebook_shim")
ONLY_OURS = {"livelens.jupyter": True, **dict.fromkeys(_OTHERS, False)}  # the others take a second to start


@dataclass(frozen=True)
class JupyterProcess:
    port: int
    process: subprocess.Popen[str]
    lines: list[str]  # what it has said so far
    folder: Path  # where its notebooks lie
    base_url: str = BASE_URL

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll()

    def stop(self) -> None:
        """Ask it to end, and wait until it has."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(_STOP_SECS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """livelens' page; its token logs in to Jupyter."""
        return f"{self.origin}{self.base_url}livelens/?token={TOKEN}"


@contextlib.contextmanager
def jupyter_server(
    folder: Path,
    *options: str,
    module: str = "jupyter_server",
    models: dict[str, str] | None = None,
    python: str = sys.executable,
    extensions: Mapping[str, bool] = ONLY_OURS,
    unauthenticated: bool | None = None,
) -> Iterator[JupyterProcess]:
    """Start in `folder`, wait until it answers, and end it afterwards.

    extensions: which to load or not; one that is not named is loaded where it is installed. unauthenticated:
    the value of JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS; none leaves Jupyter's own default.
    """
    config = {
        "ServerApp": {"jpserver_extensions": dict(extensions)},
        "LivelensExtension": {"models": models or {"fake": "fake:3x2x24"}, "grace_secs": GRACE_SECS},
    }
    config_file = folder / "settings.json"
    config_file.write_text(json.dumps(config))
    environment = {**os.environ, **_own_places(folder), "JUPYTER_TOKEN": TOKEN}
    environment.pop("JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS", None)
    if unauthenticated is not None:
        environment["JUPYTER_SERVER_ALLOW_UNAUTHENTICATED_ACCESS"] = str(unauthenticated).lower()
    with reserved_port() as port:
        command = [python, "-m", module, "--no-browser", "--allow-root", f"--config={config_file}"]
        command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0", "--ServerApp.ip=127.0.0.1"]
        command += [f"--ServerApp.base_url={BASE_URL}", *options]
        process = subprocess.Popen(command, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True)
        server = JupyterProcess(port, process, [], folder)
        try:
            _wait_until_ready(server)
            yield server
        finally:
            server.stop()


def _own_places(folder: Path) -> dict[str, str]:
    names = ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "JUPYTERLAB_SETTINGS_DIR")
    return {name: str(folder / name.lower()) for name in (*names, "JUPYTERLAB_WORKSPACES_DIR")}


def _wait_until_ready(server: JupyterProcess) -> None:
    """Until it accepts connections: it says that it runs a moment before."""
    process = server.process
    threading.Thread(target=lambda: server.lines.extend(process.stderr or ()), daemon=True).start()
    deadline = time.monotonic() + _START_SECS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), 1):
            return
        time.sleep(0.05)
    process.kill()
    raise RuntimeError(f"Jupyter ended with {process.wait()} before it was ready:\n{''.join(server.lines)}")
