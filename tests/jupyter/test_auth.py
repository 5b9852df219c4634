"""Who gets in, over raw sockets, with Jupyter's `allow_unauthenticated_access` off and on: the same both times."""

from __future__ import annotations

import itertools
from pathlib import Path

from tests.integration.serving import UPGRADE, Reply, exchange
from tests.jupyter.jupyter_process import TOKEN, JupyterProcess, jupyter_server

EVIL = "http://evil.example"
PAGES = ("", "health", "models", "model/fake/", "model/fake/health")


async def request(
    server: JupyterProcess, path: str, *, method: str = "GET", host: str | None = None, **headers: str | None
) -> Reply:
    """One request below `livelens/`; `Set_Cookie` style names become headers, None leaves one out."""
    lines = [f"{method} {server.base_url}{path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{server.port}'}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value is not None]
    return await exchange(server.port, "".join(f"{line}\r\n" for line in [*lines, "Connection: close", ""]).encode())


async def upgrade(server: JupyterProcess, path: str = "livelens/ws", **headers: str | None) -> Reply:
    """A websocket handshake."""
    host = headers.pop("host", None)
    lines = [f"GET {server.base_url}{path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{server.port}'}"]
    given = {**UPGRADE, **{name.replace("_", "-"): value for name, value in headers.items()}}
    lines += [f"{name}: {value}" for name, value in given.items() if value is not None]
    return await exchange(server.port, "".join(f"{line}\r\n" for line in [*lines, ""]).encode())


async def cookie_of(server: JupyterProcess) -> str:
    """What a browser holds after opening livelens with Jupyter's token in the address."""
    reply = await request(server, f"livelens/?token={TOKEN}")
    assert reply.status == 302, reply
    assert reply.headers["Location"] == f"{server.base_url}livelens/"
    return reply.headers["Set-Cookie"].split(";")[0]


async def test_the_websocket_matrix(either_jupyter: JupyterProcess) -> None:
    """Every credential, origin and host: exact codes. A token of a script is let in from anywhere, as Jupyter does."""
    server = either_jupyter
    cookie = await cookie_of(server)
    name, value = cookie.split("=", 1)
    credentials = {
        "token": {"Authorization": f"token {TOKEN}"},
        "bearer": {"Authorization": f"Bearer {TOKEN}"},
        "cookie": {"Cookie": cookie},
        "wrong token": {"Authorization": f"token {TOKEN[:-1]}x"},
        "wrong cookie": {"Cookie": f"{name}={value[:-3]}abc"},
        "none": {},
    }
    origins = {"own": server.origin, "none": None, "evil": EVIL, "null": "null", "suffix": server.origin + ".evil.com"}
    hosts = {"own": None, "localhost": f"localhost:{server.port}", "evil": f"evil.example:{server.port}"}
    for (who, credential), (whence, origin), (to, host) in itertools.product(
        credentials.items(), origins.items(), hosts.items()
    ):
        reply = await upgrade(server, host=host, Origin=origin, **credential)
        # Jupyter's cookie carries the host's name in its own; it compares Origin with Host, but for a request
        # with a token, which no other site could have sent.
        is_script = who in ("token", "bearer")
        is_page = who == "cookie" and to == "own" and whence in ("own", "none")
        expected = 101 if (is_script or is_page) and to != "evil" else 403
        assert reply.status == expected, (who, whence, to, reply)


async def test_the_page_matrix(either_jupyter: JupyterProcess) -> None:
    """A stranger is sent to the login and sees nothing; every address of ours, every method."""
    server = either_jupyter
    cookie = await cookie_of(server)
    for path in PAGES:
        assert (await request(server, "livelens/" + path, Cookie=cookie)).status == 200, path
        assert (await request(server, "livelens/" + path, Authorization=f"token {TOKEN}")).status == 200, path
        for headers in ({}, {"Authorization": "token wrong"}, {"Cookie": "username=wrong"}, {"Origin": EVIL}):
            stranger = await request(server, "livelens/" + path, **headers)
            assert stranger.status == 302, (path, headers, stranger)
            assert stranger.headers["Location"].startswith(f"{server.base_url}login?next="), stranger
            assert stranger.body == b""
        wrong_host = await request(server, "livelens/" + path, host="evil.example", Cookie=cookie)
        assert wrong_host.status == 403, path
    assert (await request(server, "livelens/ws")).status == 403
    assert (await request(server, "livelens", Cookie=cookie)).headers["Location"] == f"{server.base_url}livelens/"
    assert (await request(server, "livelens")).headers["Location"].startswith(f"{server.base_url}login")


async def test_nothing_is_written_with_a_login_but_no_xsrf_token(either_jupyter: JupyterProcess) -> None:
    server = either_jupyter
    cookie = await cookie_of(server)
    for path, method in itertools.product(PAGES, ("POST", "PUT", "DELETE", "PATCH")):
        assert (await request(server, "livelens/" + path, method=method, Cookie=cookie)).status == 403, (path, method)
        with_token = await request(server, "livelens/" + path, method=method, Authorization=f"token {TOKEN}")
        assert with_token.status == 405, (path, method)


async def test_only_allowed_models_have_an_address(jupyter: JupyterProcess) -> None:
    cookie = await cookie_of(jupyter)
    for name in ("smollm2", "fake:9x9x9", "..", "%2e%2e", "%2Fetc%2Fpasswd", "hf%3Agpt2", "fake%00", "FAKE"):
        for path in ("", "ws", "health"):
            reply = await request(jupyter, f"livelens/model/{name}/{path}", Cookie=cookie)
            assert reply.status in (403, 404), (name, path, reply)
        assert (await upgrade(jupyter, f"livelens/model/{name}/ws", Cookie=cookie)).status in (403, 404), name
    assert (await request(jupyter, "livelens/models", Cookie=cookie)).body.startswith(b'[{"name": "fake"')


async def test_hostile_paths_bring_nothing(jupyter: JupyterProcess) -> None:
    cookie = await cookie_of(jupyter)
    pieces = ("..", "%2e%2e", ".", "//", "%5c", "%2f", "etc", "static", "cli.py", "%00", "assets", "__init__.py")
    for first, second in itertools.product(pieces, pieces):
        reply = await request(jupyter, f"livelens/{first}/{second}", Cookie=cookie)
        assert reply.status == 404, (first, second, reply)


async def test_what_every_answer_says(jupyter: JupyterProcess) -> None:
    """The page may be framed by Jupyter alone, loads nothing from elsewhere, and its files are kept by digest."""
    cookie = await cookie_of(jupyter)
    page = await request(jupyter, "livelens/", Cookie=cookie)
    policy = page.headers["Content-Security-Policy"]
    assert "frame-ancestors 'self'" in policy and "default-src 'self'" in policy and "script-src 'self'" in policy
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert b"livelens" in page.body
    again = await request(jupyter, "livelens/", Cookie=cookie, If_None_Match=page.headers["Etag"])
    assert (again.status, again.body) == (304, b"")
    head = await request(jupyter, "livelens/", method="HEAD", Cookie=cookie)
    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(page.body)))


async def test_a_handshake_that_is_not_ours_is_refused(jupyter: JupyterProcess) -> None:
    known = {"Authorization": f"token {TOKEN}"}
    for drop in ("Sec_WebSocket_Protocol", "Sec_WebSocket_Key", "Upgrade"):
        assert (await upgrade(jupyter, **known, **{drop: None})).status == 400, drop
    assert (await upgrade(jupyter, **known, Sec_WebSocket_Protocol="chat")).status == 400
    compressed = await upgrade(jupyter, **known, Sec_WebSocket_Extensions="permessage-deflate")
    assert compressed.status == 101 and "Sec-Websocket-Extensions" not in compressed.headers, compressed


AUTHORIZER = """
from jupyter_server.auth.authorizer import Authorizer

class ReadOnly(Authorizer):
    def is_authorized(self, handler, user, action, resource):
        return (action, resource) == ("read", "livelens")
"""


async def test_jupyters_authorizer_is_asked(tmp_path: Path) -> None:
    """Reading the page is one thing, running a model (`execute` on `livelens`) another."""
    (tmp_path / "only_reading.py").write_text(AUTHORIZER)
    with jupyter_server(tmp_path, "--ServerApp.authorizer_class=only_reading.ReadOnly") as server:
        cookie = await cookie_of(server)
        assert (await request(server, "livelens/", Cookie=cookie)).status == 200
        assert (await upgrade(server, Cookie=cookie, Origin=server.origin)).status == 403
