"""Viewers that come and go by the hundred, also by SIGKILL: the server keeps nothing of them."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from tests.integration.serving import PROMPT, UPGRADE

from livelens.bench.server_process import ServerProcess, serve
from livelens.client import Client, connect
from livelens.protocol.codec import encode_command
from livelens.protocol.messages import CHANNELS, JoinRun, Sampling, StartRun

MIB = 1024 * 1024
PATIENCE_SECS = 60
# A viewer of its own process in nothing but sockets, so that a hundred of them start quickly: it sends what comes
# on its standard input, says so once 6 KiB of steps have come, and reads on until it is killed.
KILLED_VIEWER = """
import socket, sys
viewer = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
viewer.sendall(sys.stdin.buffer.read())
seen = b""
while len(seen) < 6144:
    data = viewer.recv(65536)
    if not data:
        sys.exit("the server closed the line after " + repr(seen[-300:]))
    seen += data
print("streaming", flush=True)
while viewer.recv(65536):
    pass
"""


def n_open_files(server: ServerProcess) -> int:
    """Sockets included (Linux)."""
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def n_threads(server: ServerProcess) -> int:
    """Of the server's process."""
    return len(os.listdir(f"/proc/{server.pid}/task"))


def cpu_secs(server: ServerProcess) -> float:
    """Processor time that the server has used."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def until_files(server: ServerProcess, at_most: int) -> None:
    """Closed sockets are noticed a moment later."""
    async with asyncio.timeout(PATIENCE_SECS):
        while n_open_files(server) > at_most:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def until_idle(server: ServerProcess) -> None:
    """Until it uses less than a tenth of a core; a run of 200 tokens a second that goes on is never so idle."""
    async with asyncio.timeout(PATIENCE_SECS):
        worked = cpu_secs(server)
        while True:
            await asyncio.sleep(0.5)
            before, worked = worked, cpu_secs(server)
            if worked - before < 0.05:
                return


async def _visits(server: ServerProcess, count: int) -> None:
    for _ in range(count):
        async with connect(server.url, reconnect_secs=0) as client:
            assert client.viewer_id


async def test_five_hundred_visits_leave_no_memory_thread_or_socket() -> None:
    with serve("fake:2x2x8") as server:
        files = n_open_files(server)
        await _visits(server, 50)  # what every server allocates once
        await until_files(server, files)
        threads, before = n_threads(server), server.rss_bytes
        await _visits(server, 500)
        await until_files(server, files)
        grown = server.rss_bytes - before
        print(f"RSS after 500 visits: {grown / MIB:+.2f} MiB on {before / MIB:.0f} MiB")
        assert grown < 8 * MIB
        assert n_threads(server) <= threads


def _opening(server: ServerProcess, command: StartRun | JoinRun) -> bytes:
    """The bytes of a viewer that asks for a run: handshake and one masked frame."""
    headers = {"Host": f"127.0.0.1:{server.port}", "Authorization": f"Bearer {server.token}", **UPGRADE}
    head = "GET /ws HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    frame = encode_command(command)
    assert len(frame) < 65536
    length = bytes([0x80 | len(frame)]) if len(frame) < 126 else b"\xfe" + len(frame).to_bytes(2, "big")
    return head.encode() + b"\x82" + length + b"\0\0\0\0" + frame


async def _killed_mid_generation(server: ServerProcess, command: StartRun | JoinRun) -> None:
    viewer = await asyncio.create_subprocess_exec(
        sys.executable, "-ISE", "-c", KILLED_VIEWER, str(server.port),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert viewer.stdin is not None and viewer.stdout is not None
    viewer.stdin.write(_opening(server, command))
    viewer.stdin.close()
    try:
        async with asyncio.timeout(PATIENCE_SECS):
            said = await viewer.stdout.readline()
    finally:
        viewer.kill()
        await viewer.wait()
    assert said == b"streaming\n"


async def _batch_killed(server: ServerProcess, client: Client, n_own: int, n_joined: int) -> None:
    """Some in runs of their own, the others in one run that lives on."""
    endless = Sampling(max_new_tokens=100_000)
    run = await client.start_run(PROMPT, channels=CHANNELS, sampling=endless)
    await run.until(lambda it: len(it.steps) > 20)
    commands: list[StartRun | JoinRun] = [StartRun(request_id=1, prompt=PROMPT, sampling=endless)] * n_own
    commands += [JoinRun(request_id=1, run_id=run.run_id)] * n_joined
    await asyncio.gather(*(_killed_mid_generation(server, command) for command in commands))
    n_steps = len(run.steps)
    await run.until(lambda it: len(it.steps) > n_steps)  # whoever stayed is served on


async def test_a_hundred_viewers_killed_mid_generation_leave_nothing_running() -> None:
    with serve("fake:2x2x8@200", ["--grace-secs", "0.2"]) as server:
        async with connect(server.url) as client:
            await client.ping()
            files = n_open_files(server)
            await _batch_killed(server, client, 2, 8)  # what every server allocates once
            await until_files(server, files)
            threads, before = n_threads(server), server.rss_bytes
            for _ in range(10):
                await _batch_killed(server, client, 2, 8)
            await until_files(server, files)
        await until_idle(server)
        grown = server.rss_bytes - before
        print(f"RSS after 100 viewers killed: {grown / MIB:+.2f} MiB on {before / MIB:.0f} MiB")
        assert grown < 48 * MIB
        assert n_threads(server) <= threads
        async with connect(server.url) as client:
            run = await client.start_run(PROMPT, max_new_tokens=20)
            async with asyncio.timeout(PATIENCE_SECS):  # free for the next one
                assert await run.finished() == "max_new_tokens"
