"""Viewers that read slowly, or not at all: bounded, and they slow nobody."""

from __future__ import annotations

import asyncio
import socket

from tests.integration.checks import assert_complete
from tests.integration.proxies import Throttle
from tests.integration.serving import PROMPT, TOKEN, UPGRADE, Served, serving

from livelens.client import ClientRun, connect
from livelens.model.fake import FakeEngine
from livelens.protocol.codec import encode_command
from livelens.protocol.messages import CHANNELS, JoinRun, Subscribe

PATIENCE_SECS = 120


async def test_a_viewer_that_stops_reading_is_bounded_dropped_and_slows_nobody() -> None:
    engine = FakeEngine(n_layers=8, n_heads=8, d_mlp=4096, tokens_per_second=100)
    async with serving(engine, stall_secs=1.0) as served, served.client() as client:
        run = await client.start_run(PROMPT, channels=CHANNELS, max_new_tokens=300, start_paused=True)
        stalled = await _stalled_socket(served, *_join(run))
        assert len(served.server.session.viewers) == 2
        await client.resume(run)
        worst = 0
        async with asyncio.timeout(PATIENCE_SECS):
            while len(served.server.session.viewers) == 2:
                worst = max(worst, *served.server.pending_bytes())
                await asyncio.sleep(0.01)
        assert 0 < worst <= 8 * 1024 * 1024
        assert await run.finished() == "max_new_tokens"
        assert_complete(served, run)
        stalled.close()


async def test_a_slow_reader_keeps_every_token() -> None:
    """At 300 KB/s it cannot have every tensor; it survives and misses no token."""
    engine = FakeEngine(n_layers=8, n_heads=8, d_mlp=4096, tokens_per_second=60)
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    async with serving(engine, stall_secs=10.0, allow_hosts=[f"127.0.0.1:{port}"]) as served:
        throttle = Throttle(served.port, bytes_per_sec=300_000)
        async with (
            throttle.listening(sock),
            connect(f"http://127.0.0.1:{port}/", token=TOKEN, reconnect_secs=0) as slow,
        ):
            run = await slow.start_run(PROMPT, max_new_tokens=200)
            await run.until(lambda it: it.finish_reason is not None)
            record = served.server.session.records[run.run_id]
            assert run.token_ids == [token.token_id for token in record.tokens]
            assert any(step.info.detail_dropped for step in run.steps.values())


async def _stalled_socket(served: Served, *commands: bytes) -> socket.socket:
    """A viewer with a small receive buffer that sends `commands` and then does not read."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, ("127.0.0.1", served.port))
    headers = {"Host": f"127.0.0.1:{served.port}", "Authorization": f"Bearer {TOKEN}", **UPGRADE}
    head = "GET /ws HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    await loop.sock_sendall(sock, head.encode())
    reply = b""
    while b"\r\n\r\n" not in reply:
        reply += await loop.sock_recv(sock, 1)
    for command in commands:
        await loop.sock_sendall(sock, _frame(command))
    return sock


def _frame(payload: bytes) -> bytes:
    assert len(payload) < 65536
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0xFE]) + len(payload).to_bytes(2, "big")
    return b"\x82" + length + b"\0\0\0\0" + payload  # masked with zeros


def _join(run: ClientRun) -> tuple[bytes, bytes]:
    return (
        encode_command(Subscribe(request_id=1, channels=list(CHANNELS))),
        encode_command(JoinRun(request_id=2, run_id=run.run_id)),
    )
