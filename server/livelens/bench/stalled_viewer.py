"""A viewer that joins a run and never reads: `python -m livelens.bench.stalled_viewer WS_URL TOKEN RUN_ID`."""

from __future__ import annotations

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from livelens.protocol.codec import encode_command
from livelens.protocol.messages import CHANNELS, SUBPROTOCOL, JoinRun, Subscribe


async def main(address: str, token: str, run_id: str) -> None:
    """Join, then sit there until killed; the library stops reading the socket once its queue of one is full."""
    headers = {"Authorization": f"Bearer {token}"}
    subprotocols = [Subprotocol(SUBPROTOCOL)]
    async with connect(
        address, subprotocols=subprotocols, additional_headers=headers, compression=None, max_queue=1, max_size=None
    ) as websocket:
        await websocket.send(encode_command(Subscribe(request_id=0, channels=list(CHANNELS))))
        await websocket.send(encode_command(JoinRun(request_id=1, run_id=run_id)))
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
