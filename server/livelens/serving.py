"""`livelens serve`: sockets, model, browser and signals around one `LivelensServer`."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from dataclasses import dataclass
from typing import Final

from rich.console import Console
from rich.logging import RichHandler

from livelens.browser import BrowserWindow, has_display
from livelens.model.engine import Engine
from livelens.model.loading import Device, DTypeName, load_engine
from livelens.protocol.messages import SUBPROTOCOL
from livelens.transport.loading_thread import on_a_thread
from livelens.transport.security import AccessPolicy, is_loopback, new_token
from livelens.transport.websocket_server import LivelensServer

DEFAULT_PORT: Final = 8765
_PORTS_TRIED: Final = 50
_HARD_EXIT_CODE: Final = 130


class ServeError(Exception):
    """Serving cannot begin; the text says why and what to do. Exit code 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeSettings:
    """What the command line decided. port: none is the default one or the next that is free."""

    model: str
    device: Device
    dtype: DTypeName
    n_threads: int | None
    host: str
    port: int | None
    base_url: str
    token: str | None
    allow_hosts: tuple[str, ...]
    allow_origins: tuple[str, ...]
    allow_frame: bool
    open_browser: bool
    as_json: bool
    grace_secs: float
    trust_remote_code: bool
    verbosity: int


def run_serve(settings: ServeSettings) -> int:
    """Serve until a signal; returns the exit code. Raises ServeError and ModelSourceError before it serves."""
    console = Console(stderr=True, quiet=settings.verbosity < 0)
    _set_up_logging(console, settings.verbosity)
    token = settings.token if settings.token is not None else new_token()
    sockets = bind(settings.host, settings.port)
    port = int(sockets[0].getsockname()[1])
    try:
        policy = AccessPolicy(
            host=settings.host,
            port=port,
            token=token,
            base_url=settings.base_url,
            allow_hosts=settings.allow_hosts,
            allow_origins=settings.allow_origins,
            allow_frame=settings.allow_frame,
        )
    except ValueError as error:
        raise ServeError(str(error)) from error
    _warn(console, settings)
    return asyncio.run(_Serving(settings, console, policy, sockets, token).run())


class _Serving:
    """One `livelens serve`, from bound sockets to the last signal."""

    def __init__(
        self, settings: ServeSettings, console: Console, policy: AccessPolicy, sockets: list[socket.socket], token: str
    ) -> None:
        self._settings = settings
        self._console = console
        self._policy = policy
        self._sockets = sockets
        self._token = token
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Load, serve, end."""
        loop = asyncio.get_running_loop()
        for name in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(name, self._on_signal)
        engine = await self._loaded()
        if engine is None:
            return _left_at_once()  # a signal came while the model was loading, on a thread that nothing can stop
        server = LivelensServer(engine, self._policy, grace_secs=self._settings.grace_secs)
        await server.start(self._sockets)
        window = self._announce(engine.info.model_name)
        await self._stop.wait()
        window.close()
        await server.close()
        engine.close()
        return _left_at_once()

    def _on_signal(self) -> None:
        if self._stop.is_set():
            os._exit(_HARD_EXIT_CODE)
        self._stop.set()

    async def _loaded(self) -> Engine | None:
        settings = self._settings
        with self._console.status(f"loading {settings.model}") as status:

            def say(text: str) -> None:
                status.update(text)
                if not self._console.is_terminal:
                    self._console.print(text, markup=False, highlight=False)

            loading = on_a_thread(
                lambda: load_engine(
                    settings.model,
                    device=settings.device,
                    dtype=settings.dtype,
                    n_threads=settings.n_threads,
                    trust_remote_code=settings.trust_remote_code,
                    progress=say,
                )
            )
            stopping: asyncio.Task[bool] = asyncio.create_task(self._stop.wait())
            both: set[asyncio.Future[Engine] | asyncio.Task[bool]] = {loading, stopping}
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            return loading.result() if loading.done() else None

    def _announce(self, model_name: str) -> BrowserWindow:
        host, port = self._settings.host, int(self._sockets[0].getsockname()[1])
        url = self._policy.page_url()
        if self._settings.as_json:
            ready = {
                "url": url,
                "host": host,
                "port": port,
                "token": self._token,
                "model_name": model_name,
                "protocol": SUBPROTOCOL,
            }
            sys.stdout.write(json.dumps(ready) + "\n")
        else:
            self._console.print(f"{model_name} is ready; Ctrl-C ends. Open this address:", markup=False)
            sys.stdout.write(url + "\n")
        sys.stdout.flush()
        return BrowserWindow(url if self._settings.open_browser and has_display() else None)


def _left_at_once() -> int:
    """Leave without waiting for threads inside a forward call or a download, or for torch to take itself apart."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def bind(host: str, port: int | None) -> list[socket.socket]:
    """Listening sockets of one port, for every address of `host`.

    port: none takes the default or the next free one, 0 any free one. Raises ServeError.
    """
    candidates = [port] if port is not None else list(range(DEFAULT_PORT, DEFAULT_PORT + _PORTS_TRIED))
    reason = ""
    for candidate in candidates:
        try:
            return _bind_all(host, candidate)
        except OSError as error:
            reason = error.strerror or str(error)
    if port is not None:
        raise ServeError(f"port {port} on {host} cannot be used: {reason}. Choose another --port, or leave it out.")
    raise ServeError(f"no port from {DEFAULT_PORT} to {candidates[-1]} on {host} can be used: {reason}. Give a --port.")


def _bind_all(host: str, port: int) -> list[socket.socket]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise ServeError(f"--host {host} is not a name or address of this machine: {error.strerror}") from error
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    sockets: list[socket.socket] = []
    try:
        for family, address in addresses:
            if family == socket.AF_INET6 and host == "localhost" and not _has_ipv6():
                continue
            sockets.append(_listening(family, (address[0], port, *address[2:])))
            port = int(sockets[0].getsockname()[1])
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listening(family: socket.AddressFamily, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two servers share a port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(100)
        sock.setblocking(False)
    except OSError:
        sock.close()
        raise
    return sock


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


def _warn(console: Console, settings: ServeSettings) -> None:
    if not is_loopback(settings.host):
        console.print(
            f"[bold red]{settings.host}: every machine that reaches this one can reach this server. "
            "Its token travels unencrypted; give it to nobody, and allow names with --allow-host.[/]"
        )
    if settings.trust_remote_code:
        console.print("[bold red]--trust-remote-code: code that comes with the model is run on this machine.[/]")


def _set_up_logging(console: Console, verbosity: int) -> None:
    level = {-1: logging.ERROR, 0: logging.WARNING}.get(verbosity, logging.INFO if verbosity == 1 else logging.DEBUG)
    handler = RichHandler(console=console, show_path=False, rich_tracebacks=verbosity > 0)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[handler], force=True)
    logging.getLogger("livelens").setLevel(level)
