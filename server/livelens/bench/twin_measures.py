"""The clean twin: what a token costs with a second row beside it, over what it costs without, within one run."""

from __future__ import annotations

import asyncio
import statistics
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from livelens.bench.measurement import Measurement, median_ratio
from livelens.bench.server_process import ServerProcess
from livelens.bench.viewing import CAPTURED, PROMPT
from livelens.client import ablate, connect
from livelens.client.run import ClientRun
from livelens.protocol.messages import Channel, InterventionSegment, Sampling, TwinMode

_ROUNDS: Final = 6
_BLOCK_TOKENS: Final = 16
_SETTLING_TOKENS: Final = 2  # after a switch: the clean row's past, and what was on its way
# From the first position on, so that the rows share nothing.
_SET: Final = [ablate("L3H1", "L17H4", "L9.mlp", amount=0.5)]


@dataclass(slots=True)
class _Blocks:
    """Of each block of tokens with and without a twin: median seconds a token, and bytes a token."""

    secs: dict[TwinMode, list[float]] = field(default_factory=lambda: {"off": [], "teacher_forced": []})
    size_bytes: dict[TwinMode, list[float]] = field(default_factory=lambda: {"off": [], "teacher_forced": []})

    @property
    def ratio(self) -> float:
        """With over without, block by block."""
        return median_ratio(self.secs["teacher_forced"], self.secs["off"])


def twin(server: ServerProcess) -> list[Measurement]:
    """Both rows with all that the page asks for; and with no channel at all, which is the engine's share."""
    whole = asyncio.run(_blocks(server, channels=(*CAPTURED, "difference")))
    bare = asyncio.run(_blocks(server, channels=()))
    without, beside = (statistics.median(whole.secs[mode]) for mode in ("off", "teacher_forced"))
    added = statistics.median(whole.size_bytes["teacher_forced"]) - statistics.median(whole.size_bytes["off"])
    return [
        Measurement(
            name="twin_over_a_token",
            value=whole.ratio,
            unit="times the time of a token without",
            target=1.7,
            note=f"all channels and their differences; tokens/s: {1 / beside:.1f} beside a twin, {1 / without:.1f} "
            f"without; {added / 1000:.0f} KB a token more",
        ),
        Measurement(
            name="twin_over_a_token_without_channels",
            value=bare.ratio,
            unit="times the time of a token without",
            note="two rows, two predictions and their divergence",
        ),
    ]


async def _blocks(server: ServerProcess, *, channels: tuple[Channel, ...]) -> _Blocks:
    """Blocks of tokens without and with a twin, one after the other, in one run under interventions."""
    blocks = _Blocks()
    async with connect(server.url) as client:
        run = await client.start_run(
            PROMPT,
            channels=channels,
            sampling=Sampling(max_new_tokens=1000, stop_at_eos=False),
            intervention_log=[InterventionSegment(from_pos=0, interventions=_SET)],
        )
        await _generated(run, run.n_prompt_tokens + _BLOCK_TOKENS)  # the prompt's steps are read out in this time
        modes: tuple[TwinMode, TwinMode] = ("off", "teacher_forced")
        for mode in modes * _ROUNDS:
            await client.set_twin(run, mode)
            start = len(run.tokens) + _SETTLING_TOKENS
            await _generated(run, start)
            n_bytes = client.n_bytes_received
            await _generated(run, start + _BLOCK_TOKENS)
            stamps = [run.steps[pos].info.server_ns for pos in range(start, start + _BLOCK_TOKENS - 1)]
            blocks.secs[mode].append(statistics.median(b - a for a, b in pairwise(stamps)) / 1e9)
            blocks.size_bytes[mode].append((client.n_bytes_received - n_bytes) / _BLOCK_TOKENS)
        await client.stop(run)
    return blocks


async def _generated(run: ClientRun, n_tokens: int) -> None:
    await run.until(lambda run: len(run.tokens) >= n_tokens)
