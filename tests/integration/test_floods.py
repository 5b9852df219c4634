"""A viewer that floods the server: the run goes on, nobody else loses anything, the last set holds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

import pytest
from tests.integration.checks import assert_complete_tokens
from tests.integration.gate import Gate
from tests.integration.serving import PROMPT, serving, small_engine

from livelens.bench.flooding import changes, flood
from livelens.client import Client, ClientRun, LivelensError
from livelens.protocol.messages import CHANNELS, AppliedInterventions, InterventionSpec, Sampling

N_READ = 4000  # of them the server reads eight hundred a second


async def test_after_a_flood_of_changes_the_last_set_holds_and_nobody_lost_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Every kind of intervention, reads, pings and rubbish, from a viewer of the same run."""
    gate = Gate(monkeypatch)  # so that the flood ends before the run does, however fast the machine is
    async with (
        serving(small_engine(tokens_per_second=100)) as served,
        served.client() as good,
        served.client() as bad,
        served.client() as third,
    ):
        sampling = Sampling(max_new_tokens=250, stop_at_eos=False)  # which sets hold when decides what is written
        run = await good.start_run(PROMPT, channels=CHANNELS, sampling=sampling, start_paused=True)
        gate.hold_at(run.n_prompt_tokens + 120)
        theirs = await bad.join_run(run.run_id, channels=("heads",))
        seen = await third.join_run(run.run_id, channels=CHANNELS)
        await good.resume(run)
        before = bad.n_bytes_received
        flooding = asyncio.create_task(_send_all(bad, flood(run.run_id, N_READ)))
        await run.until(lambda it: len(it.tokens) > it.n_prompt_tokens + 100)
        pausing = asyncio.create_task(good.pause(run))
        await asyncio.sleep(0)  # it is sent
        await good.ping()  # it has come
        gate.let()
        await pausing
        await flooding
        last = [change for change in changes() if change.operation in ("scale", "attention_turn")]
        assert bad.n_bytes_received - before < 2_000_000, "the answers have become a flood themselves"
        applied = await _set_until_taken(bad, theirs, last)
        await good.resume(run)
        await asyncio.gather(*(one.finished() for one in (run, seen, theirs)))
        for one in (run, seen, theirs):
            assert one.finish_reason == "max_new_tokens"
            assert_complete_tokens(served, one)
            assert one.text == served.server.session.records[run.run_id].text
            assert one.intervention_log[-1] == applied
            assert one.intervention_log == run.intervention_log
        assert [spec.operation for spec in run.intervention_log[-1].interventions] == ["scale", "attention_turn"]
        assert run.intervention_log[-1].author == bad.viewer_id
        revisions = [entry.revision for entry in run.intervention_log]
        assert revisions == sorted(revisions)
        assert run.steps[max(run.steps)].info.revision == revisions[-1]


async def _send_all(client: Client, frames: Iterator[bytes]) -> None:
    assert client._connection.websocket is not None
    for frame in frames:
        await client._connection.websocket.send(frame)


async def _set_until_taken(client: Client, run: ClientRun, specs: list[InterventionSpec]) -> AppliedInterventions:
    """What a viewer does that was told to slow down."""
    refusals = ("slow_down", "superseded", "bad_command")  # the last: rubbish of the flood, answered without an id
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                try:
                    return await client.set_interventions(run, specs)
                except LivelensError as error:
                    assert error.code in refusals, str(error)
