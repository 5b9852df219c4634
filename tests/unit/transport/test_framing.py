"""A page in somebody's frame: let in by a key in its path, for no cookie comes along there."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from tests.integration.serving import UPGRADE, Reply, exchange, page, small_engine

from livelens.serving import bind
from livelens.transport.security import AccessPolicy
from livelens.transport.websocket_server import LivelensServer

KEY = "a-key-for-frames-0123456789abcdefghijk"
TOKEN = "a-token-of-the-tests-0123456789abcdef"


async def replies(port: int, path: str, *, origin: str | None = None, upgrade: bool = False) -> Reply:
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"Origin: {origin}"] if origin is not None else []
    lines += [f"{name}: {value}" for name, value in UPGRADE.items()] if upgrade else ["Connection: close"]
    return await exchange(port, "".join(f"{line}\r\n" for line in [*lines, ""]).encode())


@pytest.mark.parametrize("has_key", [True, False])
async def test_who_gets_in_by_the_key_and_who_does_not(has_key: bool) -> None:
    sockets = bind("127.0.0.1", 0)
    port = int(sockets[0].getsockname()[1])
    policy = AccessPolicy(host="127.0.0.1", port=port, token=TOKEN, frame_key=KEY if has_key else None)
    server = LivelensServer(small_engine(), policy, assets=page())
    await server.start(sockets)
    own = f"http://127.0.0.1:{port}"
    try:
        framed = await replies(port, f"/frame/{KEY}/")
        assert framed.status == (200 if has_key else 403)
        if has_key:
            assert urlsplit(policy.frame_url()).path == f"/frame/{KEY}/"
            assert framed.headers["Content-Security-Policy"].endswith("frame-ancestors *")
            assert "X-Frame-Options" not in framed.headers and framed.headers["Referrer-Policy"] == "no-referrer"
            assert (await replies(port, f"/frame/{KEY}/assets/big.js")).status == 200
            assert (await replies(port, f"/frame/{KEY}/nothing")).status == 404
            assert (await replies(port, f"/frame/{KEY}/", origin="http://evil.example")).status == 403
        for origin, expected in ((own, 101 if has_key else 403), (None, 403), ("http://evil.example", 403)):
            reply = await replies(port, f"/frame/{KEY}/ws", origin=origin, upgrade=True)
            assert reply.status == expected, (origin, reply)
        for path in (
            f"/frame/{KEY[:-1]}/",
            f"/frame/{KEY}x/",
            "/frame//",
            "/frame/",
            f"/frame/{KEY}",
            f"/frame/{TOKEN}/",
        ):
            refused = await replies(port, path)
            assert refused.status == 403, (path, refused)
            assert refused.headers["Content-Security-Policy"].endswith("frame-ancestors 'none'")
            assert refused.headers["X-Frame-Options"] == "DENY"
        assert (await replies(port, f"/frame/{KEY[:-1]}x/ws", origin=own, upgrade=True)).status == 403
    finally:
        await server.close()
