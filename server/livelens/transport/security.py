"""Who may reach the server: Host, Origin and token, checked on every request and every upgrade.

The token comes once in the address that the server prints; it is changed for an HttpOnly cookie and a
clean address. Scripts send it as `Authorization: Bearer`. Every refusal says what to do.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from websockets.datastructures import Headers

_AUTHORITY: Final = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
TOKEN_BYTES: Final = 32
_FRAME: Final = "frame/"


@dataclass(frozen=True, slots=True)
class Authority:
    """A host and a port, parsed; the port is none where none is written."""

    host: str
    port: int | None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused, and what to do."""

    status: int
    text: str
    headers: dict[str, str] = field(default_factory=dict)


def new_token() -> str:
    """256 random bits, fit for an address."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def parse_authority(text: str) -> Authority | None:
    """`host` or `host:port`; none for anything else (user info, spaces, a bare IPv6 address, a bad port)."""
    match = _AUTHORITY.fullmatch(text)
    if match is None:
        return None
    port = int(match["port"]) if match["port"] is not None else None
    if port is not None and not 0 < port < 65536:
        return None
    host = match["host"].lower()
    if host.startswith("["):
        try:
            host = str(ipaddress.IPv6Address(host[1:-1]))
        except ValueError:
            return None
    return Authority(host, port)


def parse_origin(text: str) -> tuple[str, Authority] | None:
    """(scheme, authority with its port) of an Origin; none for `null` and anything that is not http(s)://host[:port]."""
    scheme, separator, rest = text.partition("://")
    authority = parse_authority(rest) if separator and scheme in _DEFAULT_PORTS else None
    if authority is None:
        return None
    return scheme, Authority(authority.host, authority.port or _DEFAULT_PORTS[scheme])


def is_loopback(host: str) -> bool:
    """`localhost` or an address of this machine's loopback, written the usual way."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_every_address(host: str) -> bool:
    """What a server listens on to be reached by any address of this machine: a name of none of them."""
    try:
        return host == "" or ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


class AccessPolicy:
    """The checks of one server. `port` is the one it listens on."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        token: str,
        base_url: str = "/",
        allow_hosts: Sequence[str] = (),
        allow_origins: Sequence[str] = (),
        allow_frame: bool = False,
        frame_key: str | None = None,
    ) -> None:
        """Raises ValueError for an --allow-host or --allow-origin that is not one.

        frame_key: as good as the token, for a page at `frame/KEY/` that any site may show in a frame: there a cookie
        would not come along, and who does not know the key cannot frame it.
        """
        self.base_url = normal_base_url(base_url)
        self._port = port
        self._token = token.encode()
        self._cookie = secrets.token_urlsafe(TOKEN_BYTES).encode()
        self._cookie_name = f"livelens-{port}"
        self._bound_host = host.lower().strip("[]")
        self._hosts = [_required_authority(text) for text in allow_hosts]
        self._origins = {_required_origin(text) for text in allow_origins}
        self._allow_frame = allow_frame
        self._frame_key = None if frame_key is None else frame_key.encode()

    def page_url(self) -> str:
        """The address that lets a browser on this machine in, token included."""
        host = self._bound_host
        if host == "localhost" or _is_every_address(host):
            host = "::1" if ":" in host else "127.0.0.1"
        name = f"[{host}]" if ":" in host else host
        return f"http://{name}:{self._port}{self.base_url}?token={quote(self._token, safe='')}"

    def frame_url(self) -> str:
        """The address of the page for a frame, key included; only where there is a key."""
        assert self._frame_key is not None
        page = urlsplit(self.page_url())
        return f"{page.scheme}://{page.netloc}{self.base_url}{_FRAME}{quote(self._frame_key.decode(), safe='')}/"

    def path_in_frame(self, path: str) -> str | None:
        """What `path`, below the base, asks for in the frame's page; none where it is not below its key."""
        key, separator, rest = path.removeprefix(_FRAME).partition("/")
        if self._frame_key is None or not path.startswith(_FRAME) or not separator:
            return None
        return rest if hmac.compare_digest(key.encode("utf-8", "replace"), self._frame_key) else None

    def security_headers(self, *, in_frame: bool = False) -> dict[str, str]:
        """On every response, refusals included. in_frame: on those below the frame's key."""
        allow_frame = self._allow_frame or in_frame
        ancestors = "*" if allow_frame else "'none'"
        headers = {
            "Content-Security-Policy": (
                "default-src 'self'; script-src 'self'; worker-src 'self'; style-src 'self'; "
                "img-src 'self' data: blob:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
                f"form-action 'none'; frame-ancestors {ancestors}"
            ),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if not allow_frame:
            headers["X-Frame-Options"] = "DENY"
        return headers

    def check_host(self, headers: Headers) -> Refusal | Authority:
        """The Host of a request, when it names this server."""
        values = headers.get_all("Host")
        authority = parse_authority(values[0]) if len(values) == 1 else None
        if authority is None:
            return Refusal(400, "The Host header is missing, double or not host:port.")
        if self._is_own_host(authority):
            return authority
        return Refusal(
            403,
            "This server does not answer to that Host name, which protects it from DNS rebinding. "
            "If you meant to reach it by this name, restart it with --allow-host NAME (or NAME:PORT).",
        )

    def _is_own_host(self, authority: Authority) -> bool:
        if any(authority.host == allowed.host and allowed.port in (None, authority.port) for allowed in self._hosts):
            return True
        is_own_port = (authority.port or 80) == self._port
        is_own_name = is_loopback(authority.host) or (
            authority.host == self._bound_host and not _is_every_address(self._bound_host)
        )
        return is_own_port and is_own_name

    def check_origin(self, headers: Headers, host: Authority) -> Refusal | bool:
        """Whether the request has an Origin, when that is one this server serves."""
        values = headers.get_all("Origin")
        if not values:
            return False
        origin = parse_origin(values[0]) if len(values) == 1 else None
        if origin is not None:
            scheme, authority = origin
            if origin in self._origins or authority == Authority(host.host, host.port or _DEFAULT_PORTS[scheme]):
                return True
        return Refusal(
            403,
            "A page of another origin may not use this server. "
            "If that page is yours, restart the server with --allow-origin SCHEME://HOST:PORT.",
        )

    def check_upgrade(self, headers: Headers, host: Authority) -> Refusal | None:
        """A websocket: a page of ours with the cookie, or a script with the token."""
        origin = self.check_origin(headers, host)
        if isinstance(origin, Refusal):
            return origin
        if self._has_bearer(headers) or (origin and self._has_cookie(headers)):
            return None
        return _NO_TOKEN

    def check_in_frame(self, headers: Headers, host: Authority, *, is_upgrade: bool) -> Refusal | None:
        """A request below the frame's key; a websocket must come from that page itself."""
        origin = self.check_origin(headers, host)
        if isinstance(origin, Refusal):
            return origin
        return _NO_TOKEN if is_upgrade and not origin else None

    def check_page(self, headers: Headers, host: Authority, query: str) -> Refusal | None:
        """A request for the page: the cookie, the token, or the address with the token, which sets the cookie."""
        origin = self.check_origin(headers, host)
        if isinstance(origin, Refusal):
            return origin
        given = [value for name, value in _pairs(query) if name == "token"]
        if given:
            if len(given) == 1 and self.is_token(given[0]):
                return self._changed_for_cookie(query)
            return _NO_TOKEN
        if self._has_cookie(headers) or self._has_bearer(headers):
            return None
        # A SameSite=Strict cookie does not come along when another site, or the file that opened the browser,
        # led here; a navigation that begins in a page of ours brings it.
        if headers.get("Sec-Fetch-Site") == "cross-site" and headers.get("Sec-Fetch-Mode") == "navigate":
            return Refusal(200, _RELOAD_PAGE, {"Content-Type": "text/html; charset=utf-8"})
        return _NO_TOKEN

    def is_token(self, text: str) -> bool:
        """Whether this is the server's token, in a time that does not tell how much of it is right."""
        return hmac.compare_digest(text.encode("utf-8", "replace"), self._token)

    def _has_bearer(self, headers: Headers) -> bool:
        values = headers.get_all("Authorization")
        scheme, _, given = values[0].partition(" ") if len(values) == 1 else ("", "", "")
        return scheme.lower() == "bearer" and self.is_token(given.strip())

    def _has_cookie(self, headers: Headers) -> bool:
        given = [
            value.strip()
            for line in headers.get_all("Cookie")
            for name, _, value in (part.partition("=") for part in line.split(";"))
            if name.strip() == self._cookie_name
        ]
        return len(given) == 1 and hmac.compare_digest(given[0].encode("utf-8", "replace"), self._cookie)

    def _changed_for_cookie(self, query: str) -> Refusal:
        rest = urlencode([(name, value) for name, value in _pairs(query) if name != "token"])
        return Refusal(
            302,
            "",
            {
                "Location": self.base_url + ("?" + rest if rest else ""),
                "Set-Cookie": f"{self._cookie_name}={self._cookie.decode()}; HttpOnly; SameSite=Strict; "
                f"Path={self.base_url}",
                "Cache-Control": "no-store",
            },
        )


_NO_TOKEN: Final = Refusal(
    403,
    "The token is missing or wrong. Open the address that `livelens serve` printed (it holds the token, which is "
    "new at every start); a script sends it as `Authorization: Bearer TOKEN`.",
)
_RELOAD_PAGE: Final = '<!doctype html><meta http-equiv="refresh" content="0"><title>livelens</title>'


def normal_base_url(text: str) -> str:
    """`/`, or `/a/b/`; raises ValueError for anything else."""
    base = "/" + text.strip("/") + "/" if text.strip("/") else "/"
    if re.fullmatch(r"/(?:[A-Za-z0-9._~@%-]+/)*", base) is None:
        raise ValueError(f"--base-url {text!r} is not a path like /livelens/")
    return base


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, max_num_fields=32, errors="replace")
    except ValueError:
        return []


def _required_authority(text: str) -> Authority:
    authority = parse_authority(text)
    if authority is None:
        raise ValueError(f"--allow-host {text!r} is not a host name, or a host name with a port")
    return authority


def _required_origin(text: str) -> tuple[str, Authority]:
    origin = parse_origin(text.rstrip("/"))
    if origin is None:
        raise ValueError(f"--allow-origin {text!r} is not http(s)://host or http(s)://host:port")
    return origin
