"""`livelens record`: a model, a server on loopback and one viewer in this process, for one run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from livelens.client import Client, ablate, connect
from livelens.client.run import ClientRun
from livelens.model.engine import Engine
from livelens.model.loading import load_engine
from livelens.protocol.messages import (
    CHANNELS,
    MEASURED_CHANNELS,
    Component,
    InterventionSegment,
    Sampling,
    TwinMode,
)
from livelens.serving import bind
from livelens.transport.http_assets import Assets
from livelens.transport.security import AccessPolicy, new_token
from livelens.transport.websocket_server import LivelensServer

_HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedRun:
    """What is run and kept, in at most `max_bytes`. ablate: switched off in the whole run."""

    prompt: str
    sampling: Sampling
    twin: TwinMode
    ablate: tuple[Component, ...]
    max_bytes: int


def run_record(asked: RecordedRun, path: Path, *, model: str) -> str | None:
    """Run what is asked and write the recording; returns why it is not all of the run, or none.

    Raises ModelSourceError, LivelensError and OSError.
    """
    console = Console(stderr=True)
    with console.status(f"loading {model}") as status:
        engine = load_engine(
            model, device="auto", dtype="auto", n_threads=None, trust_remote_code=False, progress=status.update
        )
        try:
            return asyncio.run(_record(engine, asked, path, status.update))
        finally:
            engine.close()


async def _record(engine: Engine, asked: RecordedRun, path: Path, say: Callable[[str], None]) -> str | None:
    token = new_token()
    sockets = bind(_HOST, 0)
    port = int(sockets[0].getsockname()[1])
    policy = AccessPolicy(host=_HOST, port=port, token=token)
    server = LivelensServer(engine, policy, assets=Assets({}))
    await server.start(sockets)
    try:
        async with connect(f"http://{_HOST}:{port}/", token=token) as client:
            return await _run_and_save(client, asked, path, say)
    finally:
        await server.close()


async def _run_and_save(client: Client, asked: RecordedRun, path: Path, say: Callable[[str], None]) -> str | None:
    given = client.model_info.capabilities.channels
    channels = [channel for channel in CHANNELS if channel in given and channel not in MEASURED_CHANNELS]
    if asked.twin != "off":
        channels.append("difference")
    log = [InterventionSegment(0, [ablate(*asked.ablate, intervention_id="ablate")])] if asked.ablate else []
    run = await client.start_run(
        asked.prompt, channels=channels, sampling=asked.sampling, intervention_log=log, twin=asked.twin
    )

    async for step in run:
        say(f"token {step.pos + 1}")
    await run.finished()
    await _lenses(client, run)
    return await client.save_recording(run, path, max_bytes=asked.max_bytes)


async def _lenses(client: Client, run: ClientRun) -> None:
    """A prompt's positions get their logit lens where someone asks, or when the model has nothing else to do."""
    if "logit_lens" not in client.model_info.capabilities.channels:
        return
    lacking = [pos for pos, step in run.steps.items() if "lens_token_id" not in step.tensors]
    if lacking:
        await client.request_positions(run, lacking)
        await run.until(lambda run: all("lens_token_id" in run.steps[pos].tensors for pos in lacking))
