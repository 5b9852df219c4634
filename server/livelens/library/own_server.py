"""A view's own server: one engine on a loopback port, with a token that nobody else knows."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final

from livelens.model.engine import Engine
from livelens.serving import bind
from livelens.transport.security import TOKEN_BYTES, AccessPolicy, new_token
from livelens.transport.websocket_server import LivelensServer

_HOST: Final = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnServer:
    """url: the page for a browser on this machine. frame_url: the same for a frame in any page, see `AccessPolicy`."""

    server: LivelensServer
    port: int
    token: str
    url: str
    frame_url: str


async def serve_on_loopback(engine: Engine) -> OwnServer:
    """Serve until `server.close()`; on the running loop."""
    sockets = bind(_HOST, 0)
    port, token = int(sockets[0].getsockname()[1]), new_token()
    policy = AccessPolicy(host=_HOST, port=port, token=token, frame_key=secrets.token_urlsafe(TOKEN_BYTES))
    server = LivelensServer(engine, policy)
    await server.start(sockets)
    return OwnServer(server=server, port=port, token=token, url=policy.page_url(), frame_url=policy.frame_url())
