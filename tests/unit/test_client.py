"""The Python client's pure parts."""

from __future__ import annotations

import pytest

from livelens.client import LivelensError, ablate, connect


def test_an_address_gives_up_its_token() -> None:
    client = connect("http://127.0.0.1:8765/x/?token=abc")
    assert (client._connection.address, client._connection.token) == ("ws://127.0.0.1:8765/x/ws", "abc")
    client = connect("https://host", token="t")
    assert (client._connection.address, client._connection.token) == ("wss://host/ws", "t")


def test_another_scheme_is_refused() -> None:
    with pytest.raises(LivelensError) as refusal:
        connect("ftp://host/")
    assert refusal.value.code == "bad_url"


def test_ablate_reads_component_ids() -> None:
    spec = ablate("L1H2", "L3.mlp")
    assert spec.operation == "zero"
    assert [(c.kind, c.layer, c.index) for c in spec.components] == [("head", 1, 2), ("mlp", 3, 0)]
    assert ablate("L1N2", amount=2).operation == "scale"
    with pytest.raises(ValueError, match="names no component"):
        ablate("H1")


async def test_nobody_there_is_a_clear_error() -> None:
    with pytest.raises(LivelensError) as refusal:
        async with connect("http://127.0.0.1:1/"):
            pass
    assert refusal.value.code == "cannot_connect"
