"""Speed, bytes, latency and isolation of the server, each beside its peer in the same run."""

from __future__ import annotations

import asyncio
import math
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from livelens.bench import viewing
from livelens.bench.json_lines import HelperProcess, helper
from livelens.bench.measurement import Measurement, median_ratio
from livelens.bench.peers import PeerAnswer, PeerRequest
from livelens.bench.server_process import ServerProcess
from livelens.client import connect
from livelens.client.run import ClientRun
from livelens.protocol.messages import Sampling

N_TOKENS = 64
# A text of its own for every round: what the server keeps by token is not there before the round begins.
_PROMPTS: Final = (
    viewing.PROMPT,
    "The history of the lighthouse begins with",
    "To bake a loaf of bread you need",
    "def quicksort(numbers):\n",
    "The planet that is nearest to the sun",
    "Dear Sir or Madam, I am writing to you because",
)
_LONG_TOKENS = 100
_STALL_LIMIT_SECS = 40.0


def speed(server: ServerProcess, folder: Path, say: Callable[[str], None]) -> list[Measurement]:
    """Tokens per second over `generate` and over a `run_with_cache` loop, in alternating runs."""
    secs: dict[str, list[float]] = {"hf": [], "plain": [], "lens": []}
    with helper("livelens.bench.peers", [str(folder)]) as peers:
        _peer(peers, "hf_generate")  # loads and warms up
        _view(server, lens=True)
        for number, prompt in enumerate(_PROMPTS):
            say(f"speed, round {number + 1} of {len(_PROMPTS)}")
            of_peer = _peer(peers, "hf_generate", prompt)
            secs["hf"].append(of_peer.secs)
            for name in ("plain", "lens") if number % 2 == 0 else ("lens", "plain"):
                seen = _view(server, lens=name == "lens", prompt=prompt)
                if seen.token_ids != of_peer.token_ids:
                    raise RuntimeError("the streamed tokens are not those of generate: the comparison is void")
                secs[name].append(seen.secs)
        say("the run_with_cache loop, once")
        loop_secs = _peer(peers, "run_with_cache").secs
        plain_beside_loop = _view(server, lens=False).secs
    rates = ", ".join(f"{name} {N_TOKENS / statistics.median(values):.1f}" for name, values in secs.items())
    return [
        Measurement(
            name="tokens_per_second_over_hf_generate",
            value=median_ratio(secs["hf"], secs["plain"]),
            unit="ratio",
            target=0.95,
            at_least=True,
            note=f"all channels but logit_lens, {len(_PROMPTS)} texts; tokens/s: {rates}",
        ),
        Measurement(
            name="tokens_per_second_with_logit_lens_over_hf_generate",
            value=median_ratio(secs["hf"], secs["lens"]),
            unit="ratio",
            target=0.85,
            at_least=True,
        ),
        Measurement(
            name="tokens_per_second_over_run_with_cache_loop",
            value=loop_secs / plain_beside_loop,
            unit="ratio",
            target=3.0,
            at_least=True,
        ),
    ]


def _peer(peers: HelperProcess, name: str, prompt: str = viewing.PROMPT) -> PeerAnswer:
    return peers.ask(PeerRequest(name, prompt, N_TOKENS), PeerAnswer)


def _view(server: ServerProcess, *, lens: bool, prompt: str = viewing.PROMPT) -> viewing.Viewed:
    channels = viewing.CAPTURED if lens else viewing.WITHOUT_LENS
    return asyncio.run(viewing.generate(server.url, channels=channels, n_tokens=N_TOKENS, prompt=prompt))


def wire_and_latency(server: ServerProcess) -> list[Measurement]:
    """Bytes per token at position 100, steps from a toggle to its effect, event loop lag while generating."""
    seen = asyncio.run(viewing.generate(server.url, channels=viewing.CAPTURED, n_tokens=_LONG_TOKENS))
    delays = asyncio.run(viewing.toggle_delays(server.url, n_toggles=12))
    lag = health(server).loop_lag_ms
    kilobytes = math.nan if seen.token_bytes is None else seen.token_bytes / 1000
    return [
        Measurement(name="bytes_per_token_at_100", value=kilobytes, unit="KB", target=50.0, note="all channels"),
        Measurement(
            name="toggle_to_effect",
            value=float(max(delays)),
            unit="steps after the one in progress",
            target=1.0,
            note=f"largest of {len(delays)}",
        ),
        Measurement(
            name="event_loop_lag_p99",
            value=lag.p99,
            unit="ms",
            target=20.0,
            note=f"last minute of generating, {lag.n_samples} samples, median {lag.median} ms",
        ),
    ]


class LoopLag(msgspec.Struct, frozen=True):
    """How late the server's event loop was over the last minute."""

    median: float
    p99: float
    n_samples: int


class Health(msgspec.Struct, frozen=True):
    """Of what `GET health` tells, what is measured."""

    n_viewers: int
    pending_bytes: list[int]
    loop_lag_ms: LoopLag


def health(server: ServerProcess) -> Health:
    """What the server tells of itself."""
    request = urllib.request.Request(f"{server.origin}/health", headers={"Authorization": f"Bearer {server.token}"})
    with urllib.request.urlopen(request, timeout=10) as reply:
        return msgspec.json.decode(reply.read(), type=Health)


def stalled_viewer(server: ServerProcess) -> list[Measurement]:
    """What a viewer that stops reading costs: memory, the other viewer's speed, time until it is dropped."""
    quiet, beside, grown, dropped = asyncio.run(_stall(server))
    return [
        Measurement(
            name="stalled_viewer_memory", value=grown / 2**20, unit="MiB", target=8.0, note="bytes it holds up"
        ),
        Measurement(
            name="other_viewer_speed_beside_a_stalled_one",
            value=quiet / beside,
            unit="ratio",
            target=0.95,
            at_least=True,
            note="tokens/s of one run: beside the stalled viewer over before and after it",
        ),
        Measurement(name="stalled_viewer_dropped_after", value=dropped, unit="s", target=20.0),
    ]


async def _stall(server: ServerProcess) -> tuple[float, float, int, float]:
    """Seconds a token before and beside the stalled viewer, most bytes queued for it, seconds until dropped."""
    async with connect(server.url) as client:
        sampling = Sampling(max_new_tokens=4000, stop_at_eos=False)
        run = await client.start_run(viewing.PROMPT, channels=viewing.WITHOUT_LENS, sampling=sampling)
        quiet = await _secs_per_token(run)
        address = f"ws://127.0.0.1:{server.port}/ws"
        with _process([sys.executable, "-m", "livelens.bench.stalled_viewer", address, server.token, run.run_id]):
            await _until_joined(server)  # starting its process is not what is measured
            watching = asyncio.create_task(_watch_stalled(server))
            beside = await _secs_per_token(run)
            grown, dropped = await watching
        after = await _secs_per_token(run)  # a longer text is slower: the mean of before and after cancels that
        await client.stop(run)
    return (quiet + after) / 2, beside, grown, dropped


async def _secs_per_token(run: ClientRun) -> float:
    """By the server's own clock, over tokens generated from now on."""
    stamps: list[int] = []
    newest = max(run.steps, default=run.n_prompt_tokens)
    async for step in run:
        if step.pos > newest:
            stamps.append(step.info.server_ns)
        if len(stamps) > N_TOKENS // 2:
            break
    return (stamps[-1] - stamps[0]) / (len(stamps) - 1) / 1e9


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


async def _until_joined(server: ServerProcess) -> None:
    for _ in range(100):
        if (await asyncio.to_thread(health, server)).n_viewers > 1:
            return
        await asyncio.sleep(0.1)
    raise RuntimeError("the viewer that should stall did not come")


async def _watch_stalled(server: ServerProcess) -> tuple[int, float]:
    """The most bytes that lay in the server for it, and how long it lasted; NaN when it was never dropped."""
    start, most = time.perf_counter(), 0
    while time.perf_counter() - start < _STALL_LIMIT_SECS:
        told = await asyncio.to_thread(health, server)
        if told.n_viewers == 1:
            return most, time.perf_counter() - start
        most = max(most, *told.pending_bytes)
        await asyncio.sleep(0.25)
    return most, math.nan
