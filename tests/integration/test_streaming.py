"""Runs over real sockets: complete, resumable, bounded, and unimpressed by bad viewers."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator

import numpy as np
import pytest
from tests.integration.serving import PROMPT, TOKEN, UPGRADE, Served, serving, small_engine

from livelens.client import Client, ClientRun, LivelensError, ablate, connect
from livelens.model.fake import FakeEngine
from livelens.protocol.codec import encode_command
from livelens.protocol.messages import CHANNELS, InterventionSegment, Ping, Sampling
from livelens.run.history import History


def server_history(served: Served, run: ClientRun) -> History:
    return served.server.session.records[run.run_id].history


def assert_complete(served: Served, run: ClientRun) -> None:
    """The client holds every position of the run, bit for bit as the server does."""
    record = served.server.session.records[run.run_id]
    assert run.token_ids == [token.token_id for token in record.tokens]
    assert run.text == record.text
    assert set(run.steps) == set(record.latest) == set(range(len(record.tokens) - 1))
    for pos, step in run.steps.items():
        held = record.history.quantised(pos)
        assert held is not None
        for name, values in step.tensors.items():
            np.testing.assert_array_equal(values, held[name], err_msg=f"{name} at {pos}")
        assert {"neurons", "heads", "attention", "residual", "direct_heads"} <= set(step.tensors)


async def test_a_run_is_streamed_whole_and_its_arrays_have_their_shapes() -> None:
    async with serving() as served, served.client() as client:
        run = await client.start_run(PROMPT, channels=CHANNELS, max_new_tokens=20, target_token=" Mary")
        seen = [step async for step in run]
        assert await run.finished() == "max_new_tokens"
        assert_complete(served, run)
        assert sorted(step.pos for step in seen) == sorted(run.steps)
        info = client.model_info
        for step in seen:
            assert step.neurons.shape == (info.n_layers, info.d_mlp)
            assert step.heads.shape == (info.n_layers, info.n_heads)
            assert step.attention.shape == (info.n_layers, info.n_heads, step.pos + 1)
            np.testing.assert_allclose(step.attention.sum(-1), 1, atol=(step.pos + 1) / 510)
            assert step.residual.shape == (info.n_layers + 1,)
            exact = server_history(served, run).exact(step.pos)
            assert exact is not None and exact.neurons is not None
            error = np.abs(np.sqrt(np.abs(step.neurons)) - np.sqrt(np.abs(exact.neurons)))
            assert (error <= np.sqrt(np.abs(exact.neurons).max(1, keepdims=True)) / 254 + 1e-5).all()


async def test_exact_values_and_attention_rows_are_one_request_away() -> None:
    async with serving() as served, served.client() as client:
        run = await client.start_run(PROMPT, max_new_tokens=6)
        await run.finished()
        values = await client.request_values(run, ["L1N3", "L0H1", "L2.mlp", "L1.attn"])
        assert values.exact and values.values.shape == (4, len(run.tokens))
        exact = server_history(served, run).exact(2)
        assert exact is not None and exact.neurons is not None and exact.heads is not None
        assert values.values[0, 2] == exact.neurons[1, 3]
        assert values.values[1, 2] == exact.heads[0, 1]
        assert np.isnan(values.values[0, -1]), "the last token was chosen, its own position never computed"
        row = await client.request_attention(run, layer=1, head_index=0, query_pos=5)
        assert row.exact and row.row.sum() == pytest.approx(1, abs=1e-5)
        with pytest.raises(LivelensError) as refusal:
            await client.request_values(run, ["L99N3"])
        assert refusal.value.code == "component_out_of_range"
        assert "0 to 2" in refusal.value.message


async def test_an_ablation_takes_effect_at_most_one_step_later_and_is_acknowledged_with_its_position() -> None:
    async with serving(small_engine(tokens_per_second=100)) as served, served.client() as client:
        run = await client.start_run(PROMPT, max_new_tokens=60)
        await run.until(lambda it: len(it.tokens) - it.n_prompt_tokens >= 10)
        newest = max(run.steps)
        applied = await client.set_interventions(run, [ablate("L1.mlp", "L2.attn")])
        assert newest < applied.from_pos <= newest + 3
        await run.finished()
        assert all(step.info.revision == int(pos >= applied.from_pos) for pos, step in run.steps.items())
        log = [InterventionSegment(from_pos=e.from_pos, interventions=e.interventions) for e in run.intervention_log]
        again = await client.start_run(PROMPT, max_new_tokens=60, intervention_log=log)
        await again.finished()
        assert again.token_ids == run.token_ids
        plain = await client.start_run(PROMPT, max_new_tokens=60)
        await plain.finished()
        assert plain.token_ids != run.token_ids, "an ablation visibly changes the text"


async def test_bad_input_is_one_error_each_and_the_session_lives_on() -> None:
    async with serving(small_engine(n_ctx=64)) as served, served.client() as client:

        async def refused(work: object) -> str:
            with pytest.raises(LivelensError) as refusal:
                await work  # type: ignore[misc]
            return refusal.value.code

        run = await client.start_run(PROMPT, max_new_tokens=1000)
        assert await run.finished() == "context_full"
        assert await refused(client.start_run("word " * 100)) == "prompt_too_long"
        assert await refused(client.start_run("x", target_token=" Mary", distractor_token=" Mary")) == (
            "same_target_and_distractor"
        )
        assert await refused(client.pause(run)) == "run_ended"
        assert await refused(client.set_interventions(run, [])) == "run_ended"
        assert await refused(client.join_run("nonsense")) == "run_unknown"
        assert await client.stop(run) == "finished", "stop is harmless when the run has ended"
        assert await refused(client.request_positions(run, [5000])) == "position_out_of_range"
        paused = await client.start_run("x", start_paused=True)
        for component in ("L3H0", "L0H2", "L0N24", "L99.mlp"):
            assert await refused(client.set_interventions(paused, [ablate(component)])) == "bad_interventions"
        assert await client.ping() > 0


async def test_an_engine_fault_ends_one_run_and_not_the_server() -> None:
    engine = small_engine()
    async with serving(engine) as served, served.client() as client:
        original = engine.weights.W_U
        object.__setattr__(engine.weights, "W_U", np.zeros((3, 3), np.float32))
        run = await client.start_run(PROMPT)
        assert await run.finished() == "engine_fault"
        object.__setattr__(engine.weights, "W_U", original)
        again = await client.start_run(PROMPT, max_new_tokens=5)
        assert await again.finished() == "max_new_tokens"
        assert engine.hooks_left() == 0


async def test_two_viewers_of_one_run_end_with_the_same() -> None:
    async with serving() as served, served.client() as first, served.client() as second:
        run = await first.start_run(PROMPT, channels=CHANNELS, max_new_tokens=30, start_paused=True)
        for _ in range(5):
            await first.step_once(run)
        await run.until(lambda it: len(it.tokens) == it.n_prompt_tokens + 5)
        joined = await second.join_run(run.run_id, channels=CHANNELS)
        assert joined.token_ids == run.token_ids
        await second.set_interventions(joined, [ablate("L1H0")])
        await second.resume(joined)
        await asyncio.gather(run.finished(), joined.finished())
        for one in (run, joined):
            assert_complete(served, one)
        assert run.intervention_log == joined.intervention_log
        assert run.intervention_log[-1].author == second.viewer_id


async def test_each_viewer_has_its_own_run() -> None:
    async with serving() as served, served.client() as first, served.client() as second:
        runs = await asyncio.gather(
            first.start_run(PROMPT, max_new_tokens=25), second.start_run(PROMPT + " Rome", max_new_tokens=25)
        )
        await asyncio.gather(*(run.finished() for run in runs))
        alone = await first.start_run(PROMPT, max_new_tokens=25)
        await alone.finished()
        assert runs[0].token_ids == alone.token_ids != runs[1].token_ids


async def test_of_two_starts_at_once_the_second_counts() -> None:
    async with serving() as served, served.client() as client:
        results = await asyncio.gather(
            *(client.start_run(f"{PROMPT} {i}", max_new_tokens=5) for i in range(4)), return_exceptions=True
        )
        failed = [result for result in results if isinstance(result, LivelensError)]
        assert all(error.code == "superseded" for error in failed)
        assert isinstance(results[-1], ClientRun)
        assert await results[-1].finished() == "max_new_tokens"


async def test_a_run_that_nobody_watches_ends_after_the_grace_time() -> None:
    async with serving(small_engine(tokens_per_second=50), grace_secs=0.1) as served:
        async with served.client() as client:
            run = await client.start_run(PROMPT, max_new_tokens=400)
            await run.until(lambda it: len(it.steps) > 3)
        async with served.client() as late:
            record = served.server.session.records[run.run_id]
            async with asyncio.timeout(5):
                while record.finish_reason is None:
                    await late.ping()
                    await asyncio.sleep(0.02)
            assert record.finish_reason == "abandoned"
            joined = await late.join_run(run.run_id)
            assert joined.text and joined.finish_reason == "abandoned", "its text stays readable"


class Cutter:
    """A proxy that cuts each connection after so many bytes from the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cut_after: list[int] = []
        self.n_cuts = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self, sock: socket.socket) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._connection, sock=sock)
        try:
            yield
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._track()
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
        budget = self.cut_after.pop(0) if self.cut_after else None
        pump = asyncio.create_task(self._pump(reader, upstream_writer))
        self._tasks.add(pump)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await upstream_reader.read(4096):
                if budget is not None:
                    data, budget = data[:budget], budget - len(data)
                writer.write(data)
                await writer.drain()
                if budget is not None and budget <= 0:
                    self.n_cuts += 1
                    break
        upstream_writer.transport.abort()
        writer.transport.abort()

    def _track(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()  # as the network would: the server is not left with a viewer that is gone


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
                async with connect(f"http://127.0.0.1:{port}/", token=TOKEN, reconnect_secs=20) as client:
                    run = await client.start_run(PROMPT, channels=CHANNELS, max_new_tokens=40)
                    for _ in range(6):
                        # cut now, and then the next connection after so many bytes
                        cutter.cut_after = [rng.randrange(300, 60_000)]
                        assert client._websocket is not None
                        client._websocket.transport.abort()
                        before = client.n_reconnects
                        async with asyncio.timeout(10):
                            while client.n_reconnects == before:  # noqa: ASYNC110
                                await asyncio.sleep(0.001)
                    cutter.cut_after = []
                    async with asyncio.timeout(10):
                        await run.finished()
                    assert run.token_ids == uncut.token_ids
                    assert_complete(served, run)
        assert cutter.n_cuts > 0


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
    from livelens.protocol.messages import JoinRun, Subscribe

    return (
        encode_command(Subscribe(request_id=1, channels=list(CHANNELS))),
        encode_command(JoinRun(request_id=2, run_id=run.run_id)),
    )


async def test_a_viewer_that_stops_reading_is_bounded_dropped_and_slows_nobody() -> None:
    engine = FakeEngine(n_layers=8, n_heads=8, d_mlp=4096, tokens_per_second=100)
    async with serving(engine, stall_secs=1.0) as served, served.client() as client:
        run = await client.start_run(PROMPT, channels=CHANNELS, max_new_tokens=300)
        stalled = await _stalled_socket(served, *_join(run))
        worst = 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.timeout(15):
            while len(served.server.session.viewers) < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            while len(served.server.session.viewers) == 2:
                worst = max(worst, *(peer.pending_bytes() for peer in served.server._peers.values()))
                await asyncio.sleep(0.01)
        assert loop.time() - began < 1.0 + 3.0
        assert 0 < worst <= 8 * 1024 * 1024
        assert await run.finished() == "max_new_tokens"
        assert_complete(served, run)
        stalled.close()


async def test_a_slow_reader_keeps_every_token() -> None:
    """At 300 KB/s it cannot have every tensor; it survives and misses no token."""
    engine = FakeEngine(n_layers=8, n_heads=8, d_mlp=4096, tokens_per_second=60)
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    async with serving(engine, stall_secs=2.0, allow_hosts=[f"127.0.0.1:{port}"]) as served:
        throttle = Throttle(served.port, bytes_per_sec=300_000)
        async with (
            throttle.listening(sock),
            connect(f"http://127.0.0.1:{port}/", token=TOKEN, reconnect_secs=0) as slow,
        ):
            run = await slow.start_run(PROMPT, max_new_tokens=200)
            async with asyncio.timeout(30):
                await run.until(lambda it: it.finish_reason is not None)
            record = served.server.session.records[run.run_id]
            assert run.token_ids == [token.token_id for token in record.tokens]
            assert any(step.info.detail_dropped for step in run.steps.values())


class Throttle(Cutter):
    """A proxy with small buffers that passes so many bytes a second."""

    def __init__(self, port: int, *, bytes_per_sec: int) -> None:
        super().__init__(port)
        self._bytes_per_sec = bytes_per_sec

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._track()
        upstream = socket.socket()
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        upstream.setblocking(False)
        await asyncio.get_running_loop().sock_connect(upstream, ("127.0.0.1", self._port))
        upstream_reader, upstream_writer = await asyncio.open_connection(sock=upstream, limit=8192)
        pump = asyncio.create_task(self._pump(reader, upstream_writer))
        self._tasks.add(pump)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await upstream_reader.read(4096):
                writer.write(data)
                await asyncio.sleep(len(data) / self._bytes_per_sec)
        writer.transport.abort()


async def test_a_flood_of_commands_is_answered_within_bounds_and_generation_goes_on() -> None:
    async with serving(small_engine(tokens_per_second=100)) as served, served.client() as good, served.client() as bad:
        run = await good.start_run(PROMPT, max_new_tokens=150)
        assert bad._websocket is not None
        ping = encode_command(Ping(request_id=0))
        before = bad.n_bytes_received
        for _ in range(50_000):
            await bad._websocket.send(ping)
        assert await run.finished() == "max_new_tokens"
        assert_complete_tokens(served, run)
        async with asyncio.timeout(5):
            assert await _ping_until_taken(bad) > 0
        assert bad.n_bytes_received - before < 2_000_000


def assert_complete_tokens(served: Served, run: ClientRun) -> None:
    assert run.token_ids == [token.token_id for token in served.server.session.records[run.run_id].tokens]


async def _ping_until_taken(client: Client) -> int:
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                return await client.ping()


async def test_a_hidden_viewer_gets_tokens_only_and_a_keyframe_on_return() -> None:
    async with serving() as served, served.client() as client:
        run = await client.start_run(PROMPT, start_paused=True, channels=["neurons"])
        await client.step_once(run)
        await client.subscribe(["neurons"], visible=False)
        await client.step_once(run)
        await client.step_once(run)
        await run.until(lambda it: len(it.tokens) == it.n_prompt_tokens + 3)
        assert "neurons" not in run.steps[run.n_prompt_tokens + 1].tensors
        await client.subscribe(["neurons"], visible=True)
        await client.step_once(run)
        await run.until(lambda it: len(it.tokens) == it.n_prompt_tokens + 4)
        assert "neurons" in run.steps[run.n_prompt_tokens + 2].tensors


async def test_nothing_is_left_when_the_server_has_closed() -> None:
    import threading

    before = {thread.name for thread in threading.enumerate()}
    async with serving() as served, served.client(reconnect_secs=0) as client:
        run = await client.start_run(PROMPT, sampling=Sampling(max_new_tokens=10_000))
        await run.until(lambda it: len(it.steps) > 2)
        await served.server.close()
        with pytest.raises(LivelensError):
            await run.finished()
    left = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
    assert not left, left
    names = {thread.name for thread in threading.enumerate() if thread.is_alive()} - before
    assert not any(name.startswith("livelens-model") for name in names)
