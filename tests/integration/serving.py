"""A server on loopback in this process, and raw sockets that speak to it byte by byte."""

from __future__ import annotations

import asyncio
import base64
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

from livelens.client import Client, connect
from livelens.model.engine import Engine
from livelens.model.fake import FakeEngine
from livelens.protocol.messages import SUBPROTOCOL
from livelens.serving import bind
from livelens.transport.http_assets import Asset, Assets
from livelens.transport.security import AccessPolicy
from livelens.transport.websocket_server import LivelensServer

TOKEN = "a-token-of-the-tests-0123456789abcdef"
PROMPT = "When Mary and John went to the store, John gave a drink to"
_SERVER_OPTIONS = ("grace_secs", "max_connections", "stall_secs")
SECRET_FREE_HEADERS = ("Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy")
UPGRADE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Protocol": SUBPROTOCOL,
}


def small_engine(*, tokens_per_second: float = 0, n_ctx: int = 512) -> FakeEngine:
    return FakeEngine(n_layers=3, n_heads=2, d_mlp=24, n_ctx=n_ctx, tokens_per_second=tokens_per_second)


def page() -> Assets:
    def asset(body: bytes, kind: str) -> Asset:
        return Asset(body=body, content_type=kind, etag=f'"{len(body)}"', cache_control="no-cache")

    index = asset(b"<!doctype html><title>livelens</title>", "text/html; charset=utf-8")
    return Assets({"": index, "index.html": index, "assets/big.js": asset(b"x" * 3_000_000, "text/javascript")})


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes


async def exchange(port: int, data: bytes) -> Reply:
    """Whatever bytes to a port of this machine, and the HTTP reply that they bring."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        head = await reader.readuntil(b"\r\n\r\n")
        status_line, *header_lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = dict(line.split(": ", 1) for line in header_lines)
        status = int(status_line.split(" ")[1])
        is_bare = status in (101, 204, 304) or data.startswith(b"HEAD ")
        size = headers.get("Content-Length")
        body = b"" if is_bare else await reader.readexactly(int(size)) if size is not None else await reader.read()
        return Reply(status, headers, body)
    finally:
        writer.close()


@dataclass
class Served:
    server: LivelensServer
    port: int
    policy: AccessPolicy

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.policy.base_url}?token={TOKEN}"

    def client(self, **options: float) -> Client:
        return connect(self.url, **options)

    async def request(self, path: str = "/", *, method: str = "GET", lines: list[str] | None = None) -> Reply:
        """One HTTP request; `lines` are all its header lines."""
        lines = [f"Host: 127.0.0.1:{self.port}"] if lines is None else lines
        return await self.raw(
            (f"{method} {path} HTTP/1.1\r\n" + "".join(f"{x}\r\n" for x in lines) + "\r\n").encode("latin-1")
        )

    async def raw(self, data: bytes) -> Reply:
        """Whatever bytes, and the reply that they bring."""
        return await exchange(self.port, data)

    async def upgrade(self, *, host: str | None = None, drop: tuple[str, ...] = (), **headers: str | None) -> Reply:
        """A websocket handshake; keyword `Origin_` style names become headers, None leaves one out."""
        lines = [f"Host: {host if host is not None else f'127.0.0.1:{self.port}'}"]
        lines += [f"{name}: {value}" for name, value in UPGRADE.items() if name not in drop]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value is not None]
        return await self.request(self.policy.base_url + "ws", lines=lines)

    async def cookie(self) -> str:
        """What the browser would send after opening the printed address."""
        reply = await self.request(f"{self.policy.base_url}?token={TOKEN}")
        assert reply.status == 302, reply
        return reply.headers["Set-Cookie"].split(";")[0]


@asynccontextmanager
async def serving(engine: Engine | None = None, **options: object) -> AsyncIterator[Served]:
    """A server that is closed again; `options` go to AccessPolicy, or to LivelensServer."""
    server_options = {name: options.pop(name) for name in _SERVER_OPTIONS if name in options}
    sockets = bind("127.0.0.1", 0)
    port = sockets[0].getsockname()[1]
    policy = AccessPolicy(host="127.0.0.1", port=port, token=TOKEN, **options)  # type: ignore[arg-type]
    server = LivelensServer(engine or small_engine(), policy, assets=page(), **server_options)  # type: ignore[arg-type]
    await server.start(sockets)
    try:
        yield Served(server, port, policy)
    finally:
        await server.close()


@contextmanager
def reserved_port() -> Iterator[int]:
    """A port that a server which is told of it can have, and nobody else: bound, but not listened on.

    A port that is let go of, to be bound by a process that begins a second later, may be another's by then.
    """
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        yield int(sock.getsockname()[1])
