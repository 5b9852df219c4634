"""`livelens serve` as a process: what it prints, which ports it takes, how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.integration.serving import PROMPT, reserved_port

from livelens.browser import BrowserWindow, has_display
from livelens.client import connect

COMMAND = [sys.executable, "-m", "livelens"]
PATIENCE_SECS = 60


@contextlib.contextmanager
def started(
    *options: str, model: str = "fake:2x2x8", env: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "serve", "--model", model, "--no-browser", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(env or {})},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


async def test_json_prints_one_line_and_nothing_else_and_no_log_holds_the_token() -> None:
    with started("--json", "--port", "0", "-vv") as process:
        ready = json.loads(first_line(process))
        assert set(ready) == {"url", "host", "port", "token", "model_name", "protocol"}
        assert ready["protocol"] == "livelens.v1"
        async with connect(ready["url"]) as client:
            run = await client.start_run(PROMPT, max_new_tokens=5)
            await run.finished()
        assert ready["token"] not in command_line(process.pid)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=PATIENCE_SECS)
        assert process.returncode == 0
        assert out == ""
        assert ready["token"] not in err


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_a_running_generation(name: signal.Signals) -> None:
    """Whose tokens would take twenty minutes."""
    with started("--json", "--port", "0", model="fake:2x2x8@1.5") as process:
        ready = json.loads(first_line(process))
        async with connect(ready["url"], reconnect_secs=0) as client:
            run = await client.start_run(PROMPT, max_new_tokens=2000)
            await run.until(lambda it: len(it.steps) > it.n_prompt_tokens)
            process.send_signal(name)
            assert process.wait(PATIENCE_SECS) == 0


def test_only_loopback_is_bound() -> None:
    with started("--json", "--port", "0") as process:
        port = json.loads(first_line(process))["port"]
        listening = [line.split()[1] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        assert [address for address in listening if address.endswith(f":{port:04X}")] == [f"0100007F:{port:04X}"]


def test_a_taken_port_is_passed_over_unless_it_was_asked_for() -> None:
    with socket.socket() as taken:
        with contextlib.suppress(OSError):  # someone else's already: then it is taken all the same
            taken.bind(("127.0.0.1", 8765))
            taken.listen()
        with started() as process:
            line = first_line(process)
            assert line.startswith("http://127.0.0.1:87"), line
            assert not line.startswith("http://127.0.0.1:8765/")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with started("--port", str(port)) as process:
            _, err = process.communicate(timeout=PATIENCE_SECS)
            assert process.returncode == 2
            assert str(port) in err and "--port" in err


def test_the_environment_sets_what_the_command_line_does_not(tmp_path: Path) -> None:
    token = "from-the-environment-0123"
    env = {"LIVELENS_TOKEN": token, "LIVELENS_JSON": "1", "XDG_CONFIG_HOME": str(tmp_path)}
    (tmp_path / "livelens").mkdir()
    (tmp_path / "livelens" / "config.toml").write_text('base_url = "/from/file"\ntoken = "file-token-0123456789"\n')
    with reserved_port() as port, started(env={**env, "LIVELENS_PORT": str(port)}) as process:
        ready = json.loads(first_line(process))
        assert (ready["port"], ready["token"]) == (port, token)
        assert "/from/file/?" in ready["url"]


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--token", "short"], 2, "token"),
        (["--device", "abacus"], 2, "--device"),
        (["--allow-host", "a b"], 2, "--allow-host"),
        (["--allow-origin", "example.com"], 2, "--allow-origin"),
        (["--base-url", "/a b/"], 2, "--base-url"),
        (["--host", "no.such.name.invalid"], 2, "--host"),
        (["--model", "fake:0x0x0"], 1, "fake"),
        (["--model", "./no/such/folder"], 1, "does not exist"),
    ],
)
def test_a_bad_option_is_one_clear_line(options: list[str], code: int, said: str) -> None:
    with started("--port", "0", *options) as process:
        out, err = process.communicate(timeout=PATIENCE_SECS)
        assert process.returncode == code, err
        assert said in err
        assert "Traceback" not in err
        assert out == ""


def test_the_browser_is_sent_through_a_file_that_others_cannot_read(monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    window = BrowserWindow("http://127.0.0.1:1/?token=secret")
    path = window._path
    assert path is not None
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "token=secret" in path.read_text()
    window.close()
    assert not path.exists()
    assert all("secret" not in url for url in opened)


def test_no_browser_is_opened_over_ssh_or_without_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setenv("SSH_CONNECTION", "1 2 3 4")
    assert not has_display()
    monkeypatch.delenv("SSH_CONNECTION")
    monkeypatch.delenv("SSH_TTY", raising=False)
    assert has_display()
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert has_display() == (sys.platform in ("darwin", "win32"))
