"""What a viewer that floods the server with commands costs the one that watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from livelens.bench import viewing
from livelens.bench.flooding import FLOOD_SECS, N_COMMANDS, FloodAnswer, FloodRequest
from livelens.bench.json_lines import HelperProcess, helper
from livelens.bench.measurement import Measurement
from livelens.bench.server_process import ServerProcess
from livelens.client import connect
from livelens.client.run import ClientRun
from livelens.protocol.messages import Sampling

_QUIET_SECS = 3.0
_ROUNDS = 3


def flood(server: ServerProcess, say: Callable[[str], None]) -> list[Measurement]:
    """Tokens a second of a run while 50,000 commands come over another connection to it, over before and after."""
    ratios, sent = [], []
    address = f"ws://127.0.0.1:{server.port}/ws"
    with helper("livelens.bench.flooding", [address, server.token]) as flooder:
        for number in range(_ROUNDS):
            say(f"flood, round {number + 1} of {_ROUNDS}")
            quiet, beside, n_sent = asyncio.run(_flood(server, flooder))
            ratios.append(quiet / beside)
            sent.append(n_sent)
    return [
        Measurement(
            name="speed_under_a_flood_of_commands",
            value=sorted(ratios)[len(ratios) // 2],
            unit="ratio",
            target=0.8,
            at_least=True,
            note=f"median of {len(ratios)} ({', '.join(f'{ratio:.2f}' for ratio in ratios)}); "
            f"{N_COMMANDS} commands were to be sent in {FLOOD_SECS:g} s, the server let {min(sent)} be sent",
        )
    ]


async def _flood(server: ServerProcess, flooder: HelperProcess) -> tuple[float, float, int]:
    """Seconds a token about and beside the flood, and how many commands were sent."""
    async with connect(server.url) as client:
        sampling = Sampling(max_new_tokens=4000, stop_at_eos=False)
        run = await client.start_run(viewing.PROMPT, channels=viewing.WITHOUT_LENS, sampling=sampling)
        await run.until(lambda it: any(step.info.generated for step in it.steps.values()))
        before = await _secs_per_token(run, asyncio.create_task(asyncio.sleep(_QUIET_SECS)).done)
        asking = asyncio.create_task(asyncio.to_thread(flooder.ask, FloodRequest(run.run_id), FloodAnswer))
        beside = await _secs_per_token(run, asking.done)
        await client.set_interventions(run, [])  # what the flood changed is not what is measured
        after = await _secs_per_token(run, asyncio.create_task(asyncio.sleep(_QUIET_SECS)).done)
        await client.stop(run)
    return (before + after) / 2, beside, (await asking).n_sent


async def _secs_per_token(run: ClientRun, is_over: Callable[[], bool]) -> float:
    """By the server's own clock, over the tokens that come until `is_over`."""
    newest = max(run.steps)
    stamps: list[int] = []
    async for step in run:
        if step.pos > newest:
            stamps.append(step.info.server_ns)
        if is_over() and len(stamps) > 1:
            break
    return (stamps[-1] - stamps[0]) / (len(stamps) - 1) / 1e9
