"""`livelens serve` in a process of its own, for measurements, tests and pictures."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerProcess:
    """A server that is ready. `url` carries the token, `origin` does not."""

    url: str
    token: str
    port: int
    pid: int
    model_name: str

    @property
    def origin(self) -> str:
        """`http://host:port`."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def rss_bytes(self) -> int:
        """Resident memory now (Linux only)."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
        raise RuntimeError(f"no VmRSS for process {self.pid}")


@contextmanager
def serve(model: str, options: Sequence[str] = (), *, stop_secs: float = 10) -> Iterator[ServerProcess]:
    """Start a server on a free loopback port and stop it afterwards.

    Raises RuntimeError with what the server said when it does not get ready.
    """
    command = [sys.executable, "-m", "livelens", "serve", "--json", "--no-browser", "--port", "0", "--model", model]
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"livelens serve --model {model} ended with {process.wait()} before it was ready")
        ready = json.loads(line)
        yield ServerProcess(
            url=ready["url"], token=ready["token"], port=ready["port"], pid=process.pid, model_name=ready["model_name"]
        )
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(stop_secs)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
