"""Models in Jupyter: loaded by the first viewer and once, refused with the reason, and gone with the server."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest
from tests.integration.serving import small_engine
from tests.jupyter.jupyter_process import TOKEN, JupyterProcess, jupyter_server
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus

from livelens.jupyter import models
from livelens.jupyter.models import LazyModel, ModelUnavailableError
from livelens.model.engine import Engine
from livelens.protocol.codec import decode_event
from livelens.protocol.messages import SUBPROTOCOL, Hello


def lazy(load: object) -> LazyModel:
    return LazyModel("small", load, grace_secs=1.0, max_connections=2)  # type: ignore[arg-type]


async def test_a_model_is_loaded_once_however_many_come_at_once() -> None:
    threads: list[str] = []

    def load() -> Engine:
        threads.append(threading.current_thread().name)
        return small_engine()

    model = lazy(load)
    assert model.hub is None and model.has_room and model.health() == {"is_loaded": False}
    hubs = await asyncio.gather(*(model.ready() for _ in range(5)))
    assert all(hub is hubs[0] for hub in hubs) and len(threads) == 1
    assert threads[0] != threading.main_thread().name
    assert model.health()["is_loaded"] and model.health()["n_viewers"] == 0
    await model.close()


async def test_one_who_leaves_while_it_loads_does_not_stop_it_for_the_others() -> None:
    go_on = threading.Event()

    def load() -> Engine:
        assert go_on.wait(60)
        return small_engine()

    model = lazy(load)
    first, second = asyncio.ensure_future(model.ready()), asyncio.ensure_future(model.ready())
    await asyncio.sleep(0)
    first.cancel()
    go_on.set()
    assert (await second).has_room
    await model.close()


async def test_a_failure_is_told_and_not_tried_again_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    n_loads = 0

    def load() -> Engine:
        nonlocal n_loads
        n_loads += 1
        if n_loads == 1:
            raise RuntimeError("the disk is full")
        return small_engine()

    model = lazy(load)
    for _ in range(3):
        with pytest.raises(ModelUnavailableError, match="small cannot be loaded: the disk is full"):
            await model.ready()
    assert n_loads == 1
    monkeypatch.setattr(models, "RETRY_SECS", -1.0)
    model._retry_at = 0.0
    assert (await model.ready()).has_room and n_loads == 2
    await model.close()


def socket_of(server: JupyterProcess, model: str) -> open_websocket:
    address = f"ws://127.0.0.1:{server.port}{server.base_url}livelens/model/{model}/ws"
    headers = {"Authorization": f"token {TOKEN}"}
    return open_websocket(address, subprotocols=[SUBPROTOCOL], additional_headers=headers, proxy=None, open_timeout=60)  # type: ignore[list-item]


async def test_a_broken_model_a_full_house_and_a_goodbye(tmp_path: Path) -> None:
    """1011 with the reason; 503 when the last place is taken; 1001 when Jupyter ends, and it does end."""
    allowed = {"fake": "fake:3x2x24", "broken": "no/such/folder.gguf"}
    with jupyter_server(tmp_path, "--LivelensExtension.max_connections=1", models=allowed) as server:
        async with socket_of(server, "broken") as websocket:
            with pytest.raises(ConnectionClosed) as closed:
                await websocket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 1011
            assert "broken cannot be loaded" in closed.value.rcvd.reason
        websocket = await socket_of(server, "fake")
        assert isinstance(decode_event(await websocket.recv()), Hello)
        with pytest.raises(InvalidStatus) as refused:
            await socket_of(server, "fake")
        assert refused.value.response.status_code == 503
        assert int(refused.value.response.headers["Retry-After"]) > 0
        reading = asyncio.ensure_future(websocket.recv())
        await asyncio.to_thread(server.stop)
        with pytest.raises(ConnectionClosed) as closed:
            await reading
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001, closed.value
    assert server.exit_code == 0


@pytest.mark.parametrize("name", ["a/b", "", "..", "a b", "-x"])
def test_a_model_name_is_fit_for_an_address(name: str) -> None:
    from traitlets import TraitError

    from livelens.jupyter.extension import LivelensExtension

    with pytest.raises(TraitError, match=r"LivelensExtension\.models"):
        LivelensExtension(models={name: "fake"})
    with pytest.raises(TraitError, match=r"LivelensExtension\.models"):
        LivelensExtension(models={})
