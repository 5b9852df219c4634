"""`livelens replay`: the page and one recording on a port, or in one file. No model, no torch, no websocket."""

from __future__ import annotations

import asyncio
import base64
import html
import json
import signal
import socket
import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from rich.console import Console
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from livelens.browser import BrowserWindow, has_display
from livelens.recordings.reading import Recording, parse_recording
from livelens.recordings.writing import MAX_RECORDING_BYTES, whole_file
from livelens.serving import ServeError, bind
from livelens.session.recording import RecordingError
from livelens.transport.handshake import Handshake
from livelens.transport.http_assets import Asset, Assets, load_assets
from livelens.transport.security import AccessPolicy, is_loopback, new_token

RECORDING_PATH: Final = "recording.livelens"
SINGLE_PAGE: Final = "single.html"
MAX_PAGE_RECORDING_BYTES: Final = 256 * 1024 * 1024
_PLACE: Final = "<!--livelens-recording-->"
_HEAD_END: Final = b"</head>"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySettings:
    """What the command line decided. port: none is the default one or the next that is free."""

    file: Path
    host: str
    port: int | None
    open_browser: bool
    as_json: bool


def read_file(path: Path) -> tuple[bytes, Recording]:
    """A recording's bytes, and what they hold; raises RecordingError and OSError."""
    size_bytes = path.stat().st_size
    if size_bytes > MAX_RECORDING_BYTES:
        raise RecordingError(f"it has {size_bytes} bytes; a recording may have {MAX_RECORDING_BYTES}")
    data = path.read_bytes()
    return data, parse_recording(data)


def page_with_recording(data: bytes, name: str) -> bytes:
    """The page and the recording as one HTML file; raises ServeError where the page is not built."""
    if len(data) > MAX_PAGE_RECORDING_BYTES:
        raise RecordingError(f"a page carries {MAX_PAGE_RECORDING_BYTES} bytes at most, it has {len(data)}: replay it")
    template = files("livelens") / "static" / SINGLE_PAGE
    if not template.is_file():
        raise ServeError("the page is not built in this source tree: run python scripts/build_client.py")
    before, place, after = template.read_text(encoding="utf-8").partition(_PLACE)
    if not place:
        raise ServeError("the built page has no place for a recording: run python scripts/build_client.py")
    opening = f'<script type="application/x-livelens" id="livelens-recording" data-name="{html.escape(name)}">'
    return b"".join([(before + opening).encode(), base64.b64encode(data), ("</script>" + after).encode()])


def write_page(path: Path, html_path: Path) -> Path:
    """Write page and recording into one file; raises RecordingError, ServeError and OSError."""
    data, recording = read_file(path)
    _tell_problems(Console(stderr=True), recording)
    with whole_file(html_path) as file:
        file.write(page_with_recording(data, path.name))
    return html_path


def run_replay(settings: ReplaySettings) -> int:
    """Serve until a signal; returns the exit code. Raises RecordingError, ServeError and OSError before it serves."""
    console = Console(stderr=True, quiet=settings.as_json)
    data, recording = read_file(settings.file)
    _tell_problems(console, recording)
    sockets = bind(settings.host, settings.port)
    if not is_loopback(settings.host):
        console.print(f"[bold red]{settings.host}: every machine that reaches this one can reach this page.[/]")
    return asyncio.run(_serve(settings, ReplayAssets(load_assets(), data, settings.file.name), sockets, console))


def _tell_problems(console: Console, recording: Recording) -> None:
    for problem in [*([recording.note] if recording.note else []), *recording.problems]:
        console.print(f"note: {problem}", markup=False, highlight=False)


class ReplayAssets(Assets):
    """The page, told where its recording lies, and the recording."""

    def __init__(self, page: Assets, recording: bytes, name: str) -> None:
        super().__init__({})
        self._page = page
        index = page.get("")
        assert index is not None  # load_assets always has one
        meta = f'<meta name="livelens-recording" content="./{RECORDING_PATH}" data-name="{html.escape(name)}">'
        body = index.body.replace(_HEAD_END, meta.encode() + _HEAD_END, 1)
        self._own = {
            "": Asset(body=body, content_type=index.content_type, etag='"replay"', cache_control="no-store"),
            RECORDING_PATH: Asset(
                body=recording, content_type="application/octet-stream", etag='"recording"', cache_control="no-store"
            ),
        }
        self._own["index.html"] = self._own[""]

    def __len__(self) -> int:
        return len(self._page) + 1

    def get(self, path: str) -> Asset | None:
        """The file at exactly this path; none when there is none."""
        return self._own.get(path) or self._page.get(path)


async def _serve(settings: ReplaySettings, assets: Assets, sockets: list[socket.socket], console: Console) -> int:
    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    port = int(sockets[0].getsockname()[1])
    token = new_token()
    policy = AccessPolicy(host=settings.host, port=port, token=token)
    handshake = Handshake(policy, assets, health=lambda: {"recording": settings.file.name})

    def answer(_: ServerConnection, request: Request) -> Response:
        # has_room: no websocket is ever let through, for there is nothing that could answer on it
        response = handshake.answer(request, has_room=False)
        assert response is not None
        handshake.add_security_headers(response)
        return response

    async def never(_: ServerConnection) -> None:
        raise RuntimeError("a websocket was let through")

    servers = [await serve(never, sock=sock, process_request=answer, server_header=None) for sock in sockets]
    window = _announce(settings, policy, port, token, console)
    await stop.wait()
    window.close()
    for server in servers:
        server.close()
        await server.wait_closed()
    return 0


def _announce(settings: ReplaySettings, policy: AccessPolicy, port: int, token: str, console: Console) -> BrowserWindow:
    url = policy.page_url()
    if settings.as_json:
        ready = {"url": url, "host": settings.host, "port": port, "token": token, "file": str(settings.file)}
        sys.stdout.write(json.dumps(ready) + "\n")
    else:
        console.print(f"{settings.file.name} is ready; Ctrl-C ends. Open this address:", markup=False, highlight=False)
        sys.stdout.write(url + "\n")
    sys.stdout.flush()
    return BrowserWindow(url if settings.open_browser and has_display() else None)
