"""A viewer that joins a run and never reads: `python -m livelens.bench.stalled_viewer WS_URL TOKEN RUN_ID`."""

from __future__ import annotations

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.typing import Subprotocol

from livelens.bench.viewing import WITHOUT_LENS
from livelens.protocol.codec import encode_command
from livelens.protocol.messages import SUBPROTOCOL, JoinRun, Subscribe


async def main(address: str, token: str, run_id: str) -> None:
    """Join with the channels that the other viewer has (more would be more to compute), then sit there until killed.

    The library stops reading the socket once its queue of one is full.
    """
    headers = {"Authorization": f"Bearer {token}"}
    subprotocols = [Subprotocol(SUBPROTOCOL)]
    async with connect(
        address, subprotocols=subprotocols, additional_headers=headers, compression=None, max_queue=1, max_size=None
    ) as websocket:
        await websocket.send(encode_command(Subscribe(request_id=0, channels=list(WITHOUT_LENS))))
        await websocket.send(encode_command(JoinRun(request_id=1, run_id=run_id)))
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4]))
