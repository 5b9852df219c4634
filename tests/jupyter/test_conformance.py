"""The same protocol over every way in: what a viewer sees must not tell which of them it came over."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.request import Request, urlopen

import numpy as np
import pytest
from tests.integration.serving import PROMPT, TOKEN, serving
from tests.jupyter.jupyter_process import GRACE_SECS, JupyterProcess
from tests.jupyter.jupyter_process import TOKEN as JUPYTER_TOKEN
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed

from livelens.client import Client, LivelensError, ablate, connect
from livelens.model.fake.engine import fake_engine
from livelens.protocol.codec import decode_event, encode_command
from livelens.protocol.messages import SUBPROTOCOL, ErrorReport, Hello, JoinRun, Ping, Pong, RunJoined, Subscribe
from livelens.transport.kernel_files import ViewFile, view_path, write_file

MODEL = "fake:3x2x24"
CHANNELS = ("neurons", "heads", "attention", "residual", "logit_lens", "direct_logit")


@dataclass(frozen=True)
class Place:
    """Where a server is, and its token; `tells`: where it tells of itself, if elsewhere."""

    url: str
    token: str
    tells: Place | None = None

    def health(self) -> dict[str, Any]:
        """What the server tells of itself; blocks."""
        if self.tells is not None:
            return self.tells.health()
        request = Request(self.url + "health", headers={"Authorization": f"Bearer {self.token}"})
        with urlopen(request, timeout=60) as reply:
            return json.load(reply)  # type: ignore[no-any-return]

    def client(self) -> Client:
        return connect(self.url, token=self.token)

    def websocket(self, subprotocol: str = SUBPROTOCOL) -> open_websocket:
        address = self.url.replace("http://", "ws://") + "ws"
        headers = {"Authorization": f"Bearer {self.token}"}
        return open_websocket(
            address, subprotocols=[subprotocol], additional_headers=headers, proxy=None, compression=None
        )  # type: ignore[list-item]


@pytest.fixture(params=["websockets", "jupyter", "kernel"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    """The same fake model over each transport, and as a notebook's kernel offers it through the extension."""
    if request.param == "websockets":
        async with serving(fake_engine(MODEL), grace_secs=GRACE_SECS, base_url="/user/me/livelens/") as served:
            url, _, query = served.url.partition("?token=")
            yield Place(url, query)
        return
    server: JupyterProcess = request.getfixturevalue("jupyter")
    url = server.url.partition("?")[0]
    if request.param == "jupyter":
        yield Place(url, JUPYTER_TOKEN)
        return
    async with serving(fake_engine(MODEL), grace_secs=GRACE_SECS) as served:
        view_id = secrets.token_urlsafe(24)
        path = view_path(server.folder / "jupyter_runtime_dir", view_id)
        write_file(path, ViewFile(port=served.port, token=TOKEN, pid=os.getpid()))
        yield Place(f"{url}kernel/{view_id}/", JUPYTER_TOKEN, Place(served.url.partition("?")[0], TOKEN))
        path.unlink()


async def closed_with(websocket: ClientConnection) -> tuple[int, str]:
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            await asyncio.wait_for(websocket.recv(), 60)
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code, closed.value.rcvd.reason


async def test_hello_comes_first_and_names_the_model(place: Place) -> None:
    async with place.websocket() as websocket:
        hello = decode_event(await websocket.recv())
        assert isinstance(hello, Hello)
        assert hello.model_info.model_name == MODEL
        assert hello.limits.grace_secs == GRACE_SECS
        assert websocket.subprotocol == SUBPROTOCOL


async def test_a_run_is_what_the_engine_makes_bit_for_bit(place: Place) -> None:
    """Against the same engine over a server in this process: tokens, text, every tensor of every position."""
    async with serving(fake_engine(MODEL)) as here, here.client() as own, place.client() as client:
        runs = [await each.start_run(PROMPT, channels=CHANNELS, max_new_tokens=12) for each in (own, client)]
        for run in runs:
            await run.finished()
            # the lens of prompt positions comes when there is nothing else to do
            await run.until(lambda run: all("lens_rank" in step.tensors for step in run.steps.values()))
        expected, got = runs
        assert got.token_ids == expected.token_ids and got.text == expected.text
        assert set(got.steps) == set(expected.steps)
        for pos, step in got.steps.items():
            assert set(step.tensors) == set(expected.steps[pos].tensors)
            for name, values in step.tensors.items():
                np.testing.assert_array_equal(values, expected.steps[pos].tensors[name], err_msg=f"{name} at {pos}")


async def test_an_ablation_in_the_middle_changes_the_rest(place: Place) -> None:
    async with place.client() as client:
        plain = await client.start_run(PROMPT, max_new_tokens=12)
        await plain.finished()
        run = await client.start_run(PROMPT, max_new_tokens=12, start_paused=True)
        for _ in range(4):
            await client.step_once(run)
        applied = await client.set_interventions(run, [ablate("L0H0", "L1.mlp", "L2.mlp")])
        await client.resume(run)
        await run.finished()
        at = applied.from_pos
        assert run.token_ids[: at + 1] == plain.token_ids[: at + 1]
        assert run.token_ids != plain.token_ids


async def test_two_viewers_of_one_run_are_told_the_same(place: Place) -> None:
    async with place.client() as first, place.client() as second:
        run = await first.start_run(PROMPT, max_new_tokens=20, start_paused=True)
        joined = await second.join_run(run.run_id, channels=["neurons"])
        await second.set_interventions(joined, [ablate("L1H1")])
        await first.resume(run)
        await run.finished()
        await joined.finished()
        assert joined.token_ids == run.token_ids
        assert first.viewer_id != second.viewer_id


async def test_garbage_is_answered_and_the_viewer_lives_on(place: Place) -> None:
    async with place.websocket() as websocket:
        await websocket.recv()
        for frame in (b"", b"\xc1", b"\x80", b"\xdf\xff\xff\xff\xff", b"x" * 1000, b"\x81\xa4type\xa4nope"):
            await websocket.send(frame)
            assert isinstance(decode_event(await websocket.recv()), ErrorReport), frame
        await websocket.send(encode_command(Ping(request_id=7)))
        assert isinstance(decode_event(await websocket.recv()), Pong)


async def test_a_text_frame_is_closed_with_the_reason(place: Place) -> None:
    async with place.websocket() as websocket:
        await websocket.recv()
        await websocket.send("hello")
        code, reason = await closed_with(websocket)
        assert code == 1003 and "binary" in reason


async def test_an_oversized_frame_is_closed(place: Place) -> None:
    async with place.websocket() as websocket:
        await websocket.recv()
        await websocket.send(b"x" * (64 * 1024 + 1))
        assert (await closed_with(websocket))[0] == 1009


async def test_another_protocol_version_is_closed_with_both_named(place: Place) -> None:
    async with place.websocket("livelens.v0") as websocket:
        code, reason = await closed_with(websocket)
        assert code == 1002 and "livelens.v0" in reason and SUBPROTOCOL in reason


async def test_a_wrong_token_is_refused(place: Place) -> None:
    with pytest.raises(LivelensError) as refused:
        async with connect(place.url, token="x" * 40, reconnect_secs=0):
            pass
    assert refused.value.code == "refused_403"


async def test_a_viewer_who_reads_nothing_costs_little_and_holds_nobody_up(place: Place) -> None:
    """One viewer stops reading in a run of 300 steps; another watches the same run to its end."""
    async with place.client() as reader, place.websocket() as stalled:
        run = await reader.start_run(PROMPT, channels=CHANNELS, max_new_tokens=300, start_paused=True)
        await stalled.send(encode_command(Subscribe(request_id=1, channels=list(CHANNELS))))
        await stalled.send(encode_command(JoinRun(request_id=2, run_id=run.run_id)))
        while not isinstance(decode_event(await stalled.recv()), RunJoined):
            pass
        stalled.transport.pause_reading()
        await reader.resume(run)
        await asyncio.wait_for(run.finished(), 200)
        assert len(run.token_ids) >= 300
        async with asyncio.timeout(60):  # a viewer of the test before may be about to be let go of
            while (health := await asyncio.to_thread(place.health))["n_viewers"] > 2:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert health["n_viewers"] == 2
        assert max(health["pending_bytes"]) < 1024 * 1024


async def test_a_run_that_nobody_watches_lives_for_the_grace_time(place: Place) -> None:
    async with place.client() as first:
        run = await first.start_run(PROMPT, max_new_tokens=8, start_paused=True)
    async with place.client() as second:
        joined = await second.join_run(run.run_id, channels=["neurons"])
        await second.resume(joined)
        await joined.finished()
        assert len(joined.token_ids) > len(run.token_ids)
