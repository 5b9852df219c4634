"""A viewer that sends far more than anybody may: `python -m livelens.bench.flooding WS_URL TOKEN`, told the run."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Iterator
from typing import Final

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from livelens.bench.json_lines import answer_requests
from livelens.protocol.codec import encode_command
from livelens.protocol.messages import (
    SUBPROTOCOL,
    AttentionEdit,
    Command,
    Component,
    InterventionSpec,
    JoinRun,
    Ping,
    Positions,
    Reference,
    RequestValues,
    SetInterventions,
    Subscribe,
)

N_COMMANDS: Final = 50_000
FLOOD_SECS: Final = 5.0
_BLOCKS_PER_SEC: Final = 100
_FIRST_ID: Final = 1_000_000  # no answer to the flood is taken for one to another command
HEAD: Final = Component(kind="head", layer=0, index=0)


class FloodRequest(msgspec.Struct, frozen=True):
    """Flood the server with commands about this run."""

    run_id: str


class FloodAnswer(msgspec.Struct, frozen=True):
    """How many commands were sent."""

    n_sent: int


def changes() -> list[InterventionSpec]:
    """One intervention of every kind that needs nothing but the model and a prompt of three tokens."""
    spec, neuron = InterventionSpec, Component(kind="neuron", layer=1, index=1)
    return [
        spec(intervention_id="zero", operation="zero", components=[HEAD]),
        spec(intervention_id="scale", operation="scale", components=[neuron], amount=2.0),
        spec(intervention_id="set", operation="set", components=[neuron], amount=1.5),
        spec(intervention_id="mean", operation="mean", components=[HEAD], reference=Reference()),
        spec(
            intervention_id="resample",
            operation="resample",
            components=[HEAD],
            reference=Reference(source="text", texts=["It rains, so I wear"]),
        ),
        spec(
            intervention_id="knockout",
            operation="attention_knockout",
            components=[HEAD],
            attention=AttentionEdit(keys=[0]),
        ),
        spec(
            intervention_id="turn",
            operation="attention_turn",
            components=[HEAD],
            attention=AttentionEdit(keys=[1], from_keys=[0]),
            positions=Positions(scope="tokens", token_ids=[1, 2]),
        ),
    ]


def flood(run_id: str, n_commands: int) -> Iterator[bytes]:
    """Encoded commands, sets of every kind among reads, pings and what is no command at all."""
    sets = [[change] for change in changes()] + [[]]
    kinds: list[Command] = [
        *(
            SetInterventions(request_id=_FIRST_ID + number, run_id=run_id, interventions=one)
            for number, one in enumerate(sets)
        ),
        Ping(request_id=_FIRST_ID + 100),
        Subscribe(request_id=_FIRST_ID + 101, channels=["heads"]),
        RequestValues(request_id=_FIRST_ID + 102, run_id=run_id, components=[HEAD]),
    ]
    frames = [*(encode_command(command) for command in kinds), b"\x81\xa4type\xa6nobody"]
    for number in range(n_commands):
        yield frames[number % len(frames)]


def _on_the_wire(frame: bytes) -> bytes:
    """As one binary websocket message, masked with zeros: made before, so that sending costs next to nothing."""
    length = bytes([0x80 | len(frame)]) if len(frame) < 126 else b"\xfe" + len(frame).to_bytes(2, "big")
    return b"\x82" + length + b"\0\0\0\0" + frame


async def _send(websocket: ClientConnection, run_id: str) -> int:
    """Evenly over FLOOD_SECS, as many of N_COMMANDS as the server reads in that time; how many were sent."""
    loop = asyncio.get_running_loop()
    frames = [_on_the_wire(frame) for frame in flood(run_id, N_COMMANDS)]
    per_block = round(N_COMMANDS / FLOOD_SECS / _BLOCKS_PER_SEC)
    began = loop.time()
    n_sent = 0
    while n_sent < N_COMMANDS and loop.time() - began < FLOOD_SECS:
        if websocket.transport.get_write_buffer_size() == 0:
            websocket.transport.write(b"".join(frames[n_sent : n_sent + per_block]))
            n_sent += per_block
        await asyncio.sleep(1 / _BLOCKS_PER_SEC)
    return n_sent


async def _join_and_flood(address: str, token: str, run_id: str) -> int:
    async with connect(
        address,
        subprotocols=[Subprotocol(SUBPROTOCOL)],
        additional_headers={"Authorization": f"Bearer {token}"},
        compression=None,
        max_size=None,
        close_timeout=0.2,
    ) as websocket:
        reading = asyncio.create_task(_read_on(websocket))
        await websocket.send(encode_command(Subscribe(request_id=0, channels=[])))
        await websocket.send(encode_command(JoinRun(request_id=1, run_id=run_id)))
        n_sent = await _send(websocket, run_id)
        reading.cancel()
    return n_sent


async def _read_on(websocket: ClientConnection) -> None:
    with contextlib.suppress(ConnectionClosed):
        async for _ in websocket:
            pass


if __name__ == "__main__":
    answer_requests(
        FloodRequest, lambda asked: FloodAnswer(asyncio.run(_join_and_flood(sys.argv[1], sys.argv[2], asked.run_id)))
    )
