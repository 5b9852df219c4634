"""`livelens record`: a model, a server on loopback and one viewer in this process, for one run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from livelens.client import Client, connect
from livelens.client.run import ClientRun
from livelens.model.engine import Engine
from livelens.model.loading import load_engine
from livelens.protocol.messages import CHANNELS, MEASURED_CHANNELS, Sampling
from livelens.serving import bind
from livelens.transport.http_assets import Assets
from livelens.transport.security import AccessPolicy, new_token
from livelens.transport.websocket_server import LivelensServer

_HOST = "127.0.0.1"


def run_record(prompt: str, path: Path, *, model: str, sampling: Sampling, max_bytes: int) -> str | None:
    """Run `prompt` and write the recording; returns why it is not all of the run, or none.

    Raises ModelSourceError, LivelensError and OSError.
    """
    console = Console(stderr=True)
    with console.status(f"loading {model}") as status:
        engine = load_engine(
            model, device="auto", dtype="auto", n_threads=None, trust_remote_code=False, progress=status.update
        )
        try:
            return asyncio.run(_record(engine, prompt, path, sampling, max_bytes, status.update))
        finally:
            engine.close()


async def _record(
    engine: Engine, prompt: str, path: Path, sampling: Sampling, max_bytes: int, say: Callable[[str], None]
) -> str | None:
    token = new_token()
    sockets = bind(_HOST, 0)
    port = int(sockets[0].getsockname()[1])
    policy = AccessPolicy(host=_HOST, port=port, token=token)
    server = LivelensServer(engine, policy, assets=Assets({}))
    await server.start(sockets)
    try:
        async with connect(f"http://{_HOST}:{port}/", token=token) as client:
            return await _run_and_save(client, prompt, path, sampling, max_bytes, say)
    finally:
        await server.close()


async def _run_and_save(
    client: Client, prompt: str, path: Path, sampling: Sampling, max_bytes: int, say: Callable[[str], None]
) -> str | None:
    given = client.model_info.capabilities.channels
    channels = [channel for channel in CHANNELS if channel in given and channel not in MEASURED_CHANNELS]
    run = await client.start_run(prompt, channels=channels, sampling=sampling)

    async for step in run:
        say(f"token {step.pos + 1}")
    await run.finished()
    await _lenses(client, run)
    return await client.save_recording(run, path, max_bytes=max_bytes)


async def _lenses(client: Client, run: ClientRun) -> None:
    """A prompt's positions get their logit lens where someone asks, or when the model has nothing else to do."""
    if "logit_lens" not in client.model_info.capabilities.channels:
        return
    lacking = [pos for pos, step in run.steps.items() if "lens_token_id" not in step.tensors]
    if lacking:
        await client.request_positions(run, lacking)
        await run.until(lambda run: all("lens_token_id" in run.steps[pos].tensors for pos in lacking))
