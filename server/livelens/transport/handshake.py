"""The HTTP side of the port: answers every request that is not a websocket, and refuses bad ones."""

from __future__ import annotations

import http
import json
from collections.abc import Callable, Sequence
from typing import Final

from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from livelens import __version__
from livelens.protocol.messages import PROTOCOL_VERSION, SUBPROTOCOL
from livelens.transport.http_assets import Assets
from livelens.transport.security import AccessPolicy, Authority, Refusal

WEBSOCKET_PATH: Final = "ws"
HEALTH_PATH: Final = "health"
RETRY_AFTER_SECS: Final = 5
_OURS: Final = "livelens.v"


class Handshake:
    """Request in, response out; none lets a websocket through."""

    def __init__(self, policy: AccessPolicy, assets: Assets, *, health: Callable[[], dict[str, object]]) -> None:
        """health: what `GET health` answers, as JSON."""
        self._policy = policy
        self._health = health
        self._assets = assets

    def add_security_headers(self, response: Response) -> None:
        """On every response, whoever made it; those in a frame have their own."""
        if "Content-Security-Policy" in response.headers:
            return
        for name, value in self._policy.security_headers().items():
            if name not in response.headers:
                response.headers[name] = value

    def answer(self, request: Request, *, has_room: bool) -> Response | None:
        """The response to a request, or none to go on with the websocket handshake."""
        host = self._policy.check_host(request.headers)
        if isinstance(host, Refusal):
            return self._refused(host)
        path, _, query = request.path.partition("?")
        base = self._policy.base_url
        if path + "/" == base:
            return self._refused(Refusal(302, "", {"Location": base + ("?" + query if query else "")}))
        if not path.startswith(base):
            return self._refused(Refusal(404, f"Nothing is here; the page is at {base}"))
        path = path[len(base) :]
        framed = self._policy.path_in_frame(path)
        if framed is not None:
            return self._in_frame(request, host, framed, has_room=has_room)
        if path == WEBSOCKET_PATH:
            return self._upgrade(request, self._policy.check_upgrade(request.headers, host), has_room=has_room)
        return self._page(request, self._policy.check_page(request.headers, host, query), path)

    def _in_frame(self, request: Request, host: Authority, path: str, *, has_room: bool) -> Response | None:
        is_upgrade = path == WEBSOCKET_PATH
        refusal = self._policy.check_in_frame(request.headers, host, is_upgrade=is_upgrade)
        if is_upgrade:
            return self._upgrade(request, refusal, has_room=has_room)
        response = self._page(request, refusal, path)
        for name, value in self._policy.security_headers(in_frame=True).items():
            response.headers[name] = value
        return response

    def _upgrade(self, request: Request, refusal: Refusal | None, *, has_room: bool) -> Response | None:
        if refusal is not None:
            return self._refused(refusal)
        if request.headers.get("Upgrade", "").lower() != "websocket":
            return self._refused(Refusal(426, "This address is a websocket.", {"Upgrade": "websocket"}))
        if not has_room:
            text = "Too many connections are open: close a tab, or try again in a few seconds."
            return self._refused(Refusal(503, text, {"Retry-After": str(RETRY_AFTER_SECS)}))
        return None

    def _page(self, request: Request, refusal: Refusal | None, path: str) -> Response:
        if refusal is not None:
            return self._refused(refusal)
        if request.method not in ("GET", "HEAD"):
            return self._refused(Refusal(405, "Only GET is answered here.", {"Allow": "GET, HEAD"}))
        if path == HEALTH_PATH:
            body = json.dumps(self._health()).encode()
            return self._response(200, {"Content-Type": "application/json", "Cache-Control": "no-store"}, body)
        asset = self._assets.get(path)
        if asset is None:
            return self._refused(Refusal(404, f"Nothing is here; the page is at {self._policy.base_url}"))
        headers = {"Content-Type": asset.content_type, "ETag": asset.etag, "Cache-Control": asset.cache_control}
        if request.headers.get("If-None-Match") == asset.etag:
            return self._response(304, headers, b"")
        return self._response(200, headers, asset.body, is_head=request.method == "HEAD")

    def _refused(self, refusal: Refusal) -> Response:
        headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-store", **refusal.headers}
        return self._response(refusal.status, headers, refusal.text.encode())

    def _response(self, status: int, headers: dict[str, str], body: bytes, *, is_head: bool = False) -> Response:
        result = Headers({**headers, "Content-Length": str(len(body)), "Connection": "close"})
        return Response(status, http.HTTPStatus(status).phrase, result, b"" if is_head else body)


def agreed_subprotocol(offered: Sequence[str]) -> str | None:
    """Ours, or another version of ours, to be closed with a reason that its page can show; none is a refusal."""
    if SUBPROTOCOL in offered:
        return SUBPROTOCOL
    return next((name for name in offered if name.startswith(_OURS)), None)


def no_subprotocol(offered: Sequence[str]) -> str:
    """Why a handshake without ours is refused (HTTP 400)."""
    return f"offer the websocket subprotocol {SUBPROTOCOL}; got {', '.join(offered) or 'none'}"


def version_mismatch(subprotocol: str | None) -> str | None:
    """Why a connection of another protocol version is closed, naming both; none when versions agree."""
    if subprotocol == SUBPROTOCOL:
        return None
    # A close reason may have 123 bytes.
    text = f"version mismatch: the page speaks {str(subprotocol)[:24]}, the server {SUBPROTOCOL} ({PROTOCOL_VERSION}, "
    return f"{text}livelens {__version__}): reload"[:123]
