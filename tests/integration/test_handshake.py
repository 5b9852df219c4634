"""Who gets in, over raw sockets: Host, Origin, token, cookie, version, path, and what every answer carries."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.integration.serving import SECRET_FREE_HEADERS, TOKEN, Reply, Served, serving, small_engine
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed

from livelens.protocol.messages import SUBPROTOCOL

BEARER = f"Bearer {TOKEN}"


def has_security_headers(reply: Reply) -> bool:
    return all(name in reply.headers for name in SECRET_FREE_HEADERS)


async def test_the_auth_matrix_has_exactly_two_ways_in() -> None:
    async with serving() as served:
        cookie, own = await served.cookie(), f"http://127.0.0.1:{served.port}"
        evil = "http://evil.example"
        expected = {
            (own, "cookie"): 101,
            (own, "bearer"): 101,
            (None, "bearer"): 101,
            (own, None): 403,
            (None, None): 403,
            (None, "cookie"): 403,
            (evil, "cookie"): 403,
            (evil, "bearer"): 403,
            (evil, None): 403,
            ("null", "cookie"): 403,
            ("null", "bearer"): 403,
        }
        for (origin, credential), status in expected.items():
            reply = await served.upgrade(
                Origin=origin,
                Cookie=cookie if credential == "cookie" else None,
                Authorization=BEARER if credential == "bearer" else None,
            )
            assert reply.status == status, (origin, credential, reply)
            assert has_security_headers(reply)


async def test_no_look_alike_origin_gets_in() -> None:
    """At least 500 mutations of the real origin, each with a good cookie and a good token: 0 wrong verdicts."""
    async with serving() as served:
        cookie, own = await served.cookie(), f"http://127.0.0.1:{served.port}"
        rng = random.Random(1)
        mutated = {
            "null", "http://", "file://", f"http://localhost:{served.port}", f"http://127.0.0.1:{served.port}.evil.com",
            f"http://127.0.0.1.evil.com:{served.port}", f"http://evil.com/{own}",
            own + "/", own + "/x", own + "?", own + "#",
            own.upper(), own.replace("http", "ftp"), own.replace("http", "ws"), f"http://user@127.0.0.1:{served.port}",
            f"http://127.0.0.1:{served.port + 1}", "http://127.0.0.1", "https://127.0.0.1", f"http://127.1:{served.port}",
            f"http://2130706433:{served.port}", f"http://0x7f.0.0.1:{served.port}", f"http://0.0.0.0:{served.port}",
            f"http://[::1]:{served.port}", f"http://[::ffff:127.0.0.1]:{served.port}", f"//127.0.0.1:{served.port}",
            f"http://127.0.0.1.:{served.port}", f"http://127.0.0.1:0{served.port}0", "http://1\u0662\u0667.0.0.1:1"
            .encode().decode("latin-1"),
        }  # fmt: skip
        while len(mutated) < 520:
            at, kind = rng.randrange(len(own)), rng.randrange(3)
            letter = chr(rng.randrange(33, 127))
            mutated.add(
                [own[:at] + letter + own[at:], own[:at] + own[at + 1 :], own[:at] + letter + own[at + 1 :]][kind]
            )
        mutated.discard(own)
        wrong = []
        for origin in sorted(mutated):
            reply = await served.upgrade(Origin=origin, Cookie=cookie, Authorization=BEARER)
            # The same place, written otherwise: the scheme's letters and a leading zero of the port are no disguise.
            if reply.status == 101 and not _is_same_place(origin, served.port):
                wrong.append(origin)
        assert wrong == []


def _is_same_place(origin: str, port: int) -> bool:
    scheme, _, rest = origin.partition("://")
    host, _, given = rest.partition(":")
    return scheme in ("http", "https") and host == "127.0.0.1" and given.isdecimal() and int(given) == port


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("127.0.0.1:{port}", True), ("localhost:{port}", True), ("LOCALHOST:{port}", True), ("[::1]:{port}", True),
        ("127.0.0.2:{port}", True), ("evil.example:{port}", False), ("127.0.0.1", False), ("localhost", False),
        ("127.0.0.1:1", False), ("0.0.0.0:{port}", False), ("2130706433:{port}", False), ("0x7f000001:{port}", False),
        ("127.1:{port}", False), ("[::ffff:127.0.0.1]:{port}", False), ("localhost.evil:{port}", False),
        ("evil.localhost:{port}", False), ("localhost.:{port}", False), ("127.0.0.1:{port}:1", False),
        ("a@127.0.0.1:{port}", False), ("::1:{port}", False), ("", False), ("127.0.0.1:{port} ", True),
        ("127.0.0.1:{port}/", False), ("127.0.0.1:999999", False), ("[fe80::1]:{port}", False),
    ],
)  # fmt: skip
async def test_only_this_servers_host_names_are_answered(host: str, good: bool) -> None:
    async with serving() as served:
        name = host.format(port=served.port)
        page = await served.request(f"/?token={TOKEN}", lines=[f"Host: {name}"])
        ws = await served.upgrade(host=name, Authorization=BEARER)
        assert (page.status == 302, ws.status == 101) == (good, good), (page, ws)
        if not good:
            assert page.status in (400, 403)
            assert page.status == 400 or b"--allow-host" in page.body
        assert has_security_headers(page)


async def test_a_missing_or_double_host_is_refused() -> None:
    async with serving() as served:
        own = f"Host: 127.0.0.1:{served.port}"
        assert (await served.request(lines=[])).status == 400
        assert (await served.request(lines=[own, own])).status == 400
        assert (await served.request(lines=[own, "Host: evil.example"])).status == 400


async def test_allowed_hosts_and_origins_are_exact() -> None:
    async with serving(allow_hosts=["box.lan"], allow_origins=["https://lab.example:8443"]) as served:
        host, bearer = "box.lan:1234", BEARER
        assert (await served.upgrade(host=host, Authorization=bearer)).status == 101
        assert (await served.upgrade(host=host, Origin="http://box.lan:1234", Authorization=bearer)).status == 101
        assert (await served.upgrade(host="xbox.lan:1234", Authorization=bearer)).status == 403
        assert (await served.upgrade(Origin="https://lab.example:8443", Authorization=bearer)).status == 101
        for origin in ("https://lab.example", "http://lab.example:8443", "https://lab.example:8443.evil.com"):
            assert (await served.upgrade(Origin=origin, Authorization=bearer)).status == 403


async def test_the_address_with_the_token_becomes_a_cookie_and_a_clean_address() -> None:
    async with serving() as served:
        reply = await served.request(f"/?token={TOKEN}&x=1")
        assert (reply.status, reply.headers["Location"]) == (302, "/?x=1")
        cookie = reply.headers["Set-Cookie"]
        assert "HttpOnly" in cookie and "SameSite=Strict" in cookie
        assert cookie.startswith(f"livelens-{served.port}=")
        assert TOKEN not in cookie and TOKEN not in reply.headers["Location"]
        own = f"Host: 127.0.0.1:{served.port}"
        assert (await served.request(lines=[own, f"Cookie: {cookie.split(';')[0]}"])).status == 200
        assert (await served.request(lines=[own])).status == 403
        assert b"livelens serve" in (await served.request(lines=[own])).body


async def test_a_cookie_of_another_server_is_worth_nothing() -> None:
    async with serving() as first, serving() as second:
        value = (await first.cookie()).split("=", 1)[1]
        for name in (f"livelens-{first.port}", f"livelens-{second.port}"):
            own = f"http://127.0.0.1:{second.port}"
            assert (await second.upgrade(Origin=own, Cookie=f"{name}={value}")).status == 403


async def test_navigation_from_another_site_is_sent_round_for_its_strict_cookie_once() -> None:
    async with serving() as served:
        own = f"Host: 127.0.0.1:{served.port}"
        came = await served.request(lines=[own, "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"])
        assert came.status == 200 and b"refresh" in came.body and b"livelens</title>" in came.body
        again = await served.request(lines=[own, "Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: navigate"])
        assert again.status == 403


async def test_hostile_paths_bring_nothing() -> None:
    """2,000 paths: 404, or the two files that the table has."""
    async with serving() as served:
        lines = [f"Host: 127.0.0.1:{served.port}", f"Cookie: {await served.cookie()}"]
        rng = random.Random(2)
        pieces = ["..", "%2e%2e", ".", "/", "//", "\\", "%5c", "%2f", "etc", "passwd", "assets", "index.html", "%00"]
        pieces += ["~", "C:", "..;", "....//", "file:", "static", "livelens", "cli.py", "ws", "%252e", "\xc3\xa9"]
        paths = {"/" + "".join(rng.choice(pieces) for _ in range(rng.randrange(1, 7))) for _ in range(2_600)}
        answers: dict[int, int] = {}
        checked = 0
        for path in sorted(paths):
            if path in ("/index.html", "/assets/big.js", "/ws", "/"):
                continue
            try:
                reply = await served.request(path, lines=lines)
            except asyncio.IncompleteReadError:
                continue  # not HTTP: closed without an answer
            checked += 1
            answers[reply.status] = answers.get(reply.status, 0) + 1
            assert reply.status in (404, 400), (path, reply)
            assert len(reply.body) < 300
        assert checked >= 1_500, answers


async def test_every_kind_of_answer_carries_the_security_headers() -> None:
    async with serving() as served:
        own = f"Host: 127.0.0.1:{served.port}"
        cookie = f"Cookie: {await served.cookie()}"
        page = await served.request(lines=[own, cookie])
        replies = [
            page,
            await served.request(lines=[own]),
            await served.request("/nothing", lines=[own, cookie]),
            await served.request(lines=[own, cookie], method="POST"),
            await served.request(lines=[own, cookie, f"If-None-Match: {page.headers['ETag']}"]),
            await served.request("/ws", lines=[own, cookie]),
            await served.request("/" + "x" * 9000, lines=[own]),
            await served.request(lines=[own] + [f"X-{i}: 1" for i in range(300)]),
            await served.upgrade(drop=("Sec-WebSocket-Protocol",), Authorization=BEARER),
            await served.upgrade(drop=("Sec-WebSocket-Key",), Authorization=BEARER),
        ]
        assert [reply.status for reply in replies] == [200, 403, 404, 405, 304, 403, 414, 431, 400, 400]
        assert all(has_security_headers(reply) for reply in replies)
        assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]


async def test_framing_is_only_allowed_on_request() -> None:
    async with serving(allow_frame=True) as served:
        assert "frame-ancestors *" in (await served.request()).headers["Content-Security-Policy"]


async def test_a_big_file_arrives_whole() -> None:
    async with serving() as served:
        lines = [f"Host: 127.0.0.1:{served.port}", f"Cookie: {await served.cookie()}"]
        reply = await served.request("/assets/big.js", lines=lines)
        assert (reply.status, len(reply.body)) == (200, 3_000_000)


async def test_everything_works_below_a_base_address() -> None:
    async with serving(base_url="/user/me/x") as served:
        lines = [f"Host: 127.0.0.1:{served.port}", f"Cookie: {await served.cookie()}"]
        assert (await served.request("/user/me/x", lines=lines)).headers["Location"] == "/user/me/x/"
        assert (await served.request("/user/me/x/", lines=lines)).status == 200
        assert (await served.request("/", lines=lines)).status == 404
        assert (await served.request("/ws", lines=lines)).status == 404
        async with served.client() as client:
            assert client.model_info.n_layers == 3


async def test_compression_is_not_negotiated() -> None:
    async with serving() as served:
        reply = await served.upgrade(Authorization=BEARER, Sec_WebSocket_Extensions="permessage-deflate")
        assert reply.status == 101
        assert "Sec-WebSocket-Extensions" not in reply.headers
        assert reply.headers["Sec-WebSocket-Protocol"] == SUBPROTOCOL


async def test_another_protocol_version_is_closed_with_both_named() -> None:
    async with serving() as served:
        address = f"ws://127.0.0.1:{served.port}/ws"
        async with open_websocket(
            address, subprotocols=["livelens.v0"], additional_headers={"Authorization": BEARER}, proxy=None
        ) as ws:  # type: ignore[list-item]
            with pytest.raises(ConnectionClosed) as closed:
                await ws.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1002
        assert "livelens.v0" in closed.value.rcvd.reason and SUBPROTOCOL in closed.value.rcvd.reason


async def test_wrong_tokens_are_never_taken() -> None:
    async with serving() as served:
        rng = random.Random(3)
        alphabet = "abcdefghijklmnopqrstuvwxyz0123456789-_"
        near = [TOKEN[:i] + "x" + TOKEN[i + 1 :] for i in range(len(TOKEN)) if TOKEN[i] != "x"]
        wrong = [*near, TOKEN[:-1], TOKEN + "a", TOKEN.upper(), "", " ", "\u00e9"]
        wrong += ["".join(rng.choices(alphabet, k=len(TOKEN))) for _ in range(10_000)]
        assert not any(served.policy.is_token(text) for text in wrong)
        for text in [*near[:5], "", TOKEN + "a"]:
            assert (await served.upgrade(Authorization=f"Bearer {text}")).status == 403
            assert (await served.request(f"/?token={text}")).status == 403
        assert (await served.request(f"/?token={TOKEN}&token={TOKEN}")).status == 403


async def test_connections_over_the_limit_are_told_to_come_back() -> None:
    async with serving(max_connections=2) as served, served.client(), served.client():
        reply = await served.upgrade(Authorization=BEARER)
        assert reply.status == 503
        assert int(reply.headers["Retry-After"]) > 0
        assert b"close a tab" in reply.body


async def test_half_open_connections_do_not_keep_a_good_client_out() -> None:
    """It is in before the server gives any of them up, which is after ten seconds."""
    async with serving(small_engine()) as served:
        half_open = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(200)]
        for _, writer in half_open:
            writer.write(b"GET / HTT")
        async with asyncio.timeout(8), served.client() as client:
            await client.ping()
        for _, writer in half_open:
            writer.close()


async def _text_frame(served: Served) -> tuple[int, str]:
    async with open_websocket(
        f"ws://127.0.0.1:{served.port}/ws",
        subprotocols=[SUBPROTOCOL],  # type: ignore[list-item]
        additional_headers={"Authorization": BEARER},
        proxy=None,
    ) as ws:
        await ws.recv()
        await ws.send("hello")
        with pytest.raises(ConnectionClosed) as closed:
            await ws.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


async def test_a_text_frame_is_closed_with_the_reason() -> None:
    async with serving() as served:
        code, reason = await _text_frame(served)
        assert code == 1003 and "binary" in reason


async def test_an_oversized_frame_is_closed() -> None:
    async with serving() as served, served.client(reconnect_secs=0) as client:
        assert client._connection.websocket is not None
        await client._connection.websocket.send(b"x" * (64 * 1024 + 1))
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                await client._connection.websocket.recv()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1009
