"""A line that is cut anywhere is taken up again, and nothing is missing."""

from __future__ import annotations

import asyncio
import random
import socket

from tests.integration.checks import assert_complete
from tests.integration.proxies import Cutter
from tests.integration.serving import PROMPT, TOKEN, serving, small_engine

from livelens.client import connect
from livelens.protocol.messages import CHANNELS


async def test_cuts_at_random_places_end_in_the_same_state() -> None:
    """Sixty cuts over ten runs: after each the client comes back, and at the end nothing is missing."""
    rng = random.Random(5)
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    async with serving(small_engine(), allow_hosts=[f"127.0.0.1:{port}"]) as served:
        cutter = Cutter(served.port)
        async with cutter.listening(sock):
            async with served.client() as client:
                uncut = await client.start_run(PROMPT, channels=CHANNELS, max_new_tokens=40)
                await uncut.finished()
            for _ in range(10):
                async with connect(f"http://127.0.0.1:{port}/", token=TOKEN, reconnect_secs=60) as client:
                    run = await client.start_run(PROMPT, channels=CHANNELS, max_new_tokens=40)
                    for _ in range(6):
                        # cut now, and then the next connection after so many bytes
                        cutter.cut_after = [rng.randrange(300, 60_000)]
                        assert client._connection.websocket is not None
                        client._connection.websocket.transport.abort()
                        before = client.n_reconnects
                        async with asyncio.timeout(60):
                            while client.n_reconnects == before:  # noqa: ASYNC110
                                await asyncio.sleep(0.001)
                    cutter.cut_after = []
                    async with asyncio.timeout(60):
                        await run.finished()
                    assert run.token_ids == uncut.token_ids
                    assert_complete(served, run)
        assert cutter.n_cuts > 0
