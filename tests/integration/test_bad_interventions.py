"""Interventions that cannot be: over a real socket each brings one error in words, to its sender; the run goes on."""

from __future__ import annotations

import asyncio
import re

import msgspec
import numpy as np
import pytest
from tests.integration.checks import assert_complete
from tests.integration.serving import PROMPT, serving
from tests.unit.protocol.test_intervention_specs import BAD

from livelens.client import Client, ClientRun, LivelensError
from livelens.protocol.messages import (
    CHANNELS,
    Component,
    ErrorReport,
    Event,
    InterventionSpec,
    Positions,
    RankOneRecipe,
    Reference,
)

HEAD = Component("head", 1, 1)
OUT_OF_REACH = {
    "a range that the run cannot have": (
        InterventionSpec("r", "zero", [HEAD], positions=Positions("range", 900)), "512 tokens",
    ),
    "a range that is over": (InterventionSpec("r", "zero", [HEAD], positions=Positions("range", 1, 3)), "Recompute"),
    "a head that the model lacks": (InterventionSpec("r", "zero", [Component("head", 1, 9)]), "0 to 1|has 2"),
    "a reference longer than the model takes": (
        InterventionSpec("r", "mean", [HEAD], reference=Reference("text", ["word " * 3000])), "1 to 512",
    ),
    "a direction that nobody made": (
        InterventionSpec("r", "set", [Component("mlp", 1)], direction_id="gone"), "holds no direction",
    ),
    "an edit that nobody made": (InterventionSpec("r", "rank_one_edit", [], edit_id="gone"), "holds no"),
}  # fmt: skip


async def raw_refusal(client: Client, run: ClientRun, spec: dict[str, object]) -> ErrorReport:
    """What a set brings that no client of ours would send."""
    request_id = client._connection.request_id()
    answer: asyncio.Future[ErrorReport] = asyncio.get_running_loop().create_future()

    def heard(event: Event) -> None:
        if isinstance(event, ErrorReport) and event.request_id == request_id:
            answer.set_result(event)

    client.on_event(heard)
    spec = {"intervention_id": "mine", "components": [], **spec}
    command = {
        "type": "set_interventions",
        "request_id": request_id,
        "run_id": run.run_id,
        "interventions": [spec],
    }
    assert client._connection.websocket is not None
    await client._connection.websocket.send(msgspec.msgpack.encode(command))
    return await asyncio.wait_for(answer, 10)


async def test_each_is_refused_in_words_and_nobody_loses_anything() -> None:
    async with serving() as served, served.client() as good, served.client() as bad:
        told: list[Event] = []
        good.on_event(told.append)
        run = await good.start_run(PROMPT, channels=CHANNELS, max_new_tokens=30, start_paused=True)
        theirs = await bad.join_run(run.run_id, channels=CHANNELS)
        for _ in range(3):
            await good.step_once(run)
        for name, (spec, reason) in BAD.items():
            refusal = await raw_refusal(bad, theirs, spec)
            assert refusal.code == "bad_command" and re.search(reason, refusal.message), f"{name}: {refusal}"
            assert len(refusal.message) < 400 and "Traceback" not in refusal.message, name
        for spec, limit in OUT_OF_REACH.values():
            with pytest.raises(LivelensError, match=limit):
                await bad.set_interventions(theirs, [spec])
        width = good.model_info.d_model
        for vector, words in (
            (np.ones(width + 1), str(width)), (np.full(width, np.nan), "NaN"), (np.zeros(width), "zero"),
        ):  # fmt: skip
            with pytest.raises(LivelensError, match=words):
                await bad.put_direction(vector, name="mine")
        recipe = RankOneRecipe("put", "mlp_out", 1)
        with pytest.raises(LivelensError, match="zero"):
            await bad.put_rank_one_edit(np.zeros(24), np.ones(width), recipe, name="a key of nothing")
        assert not [event for event in told if isinstance(event, ErrorReport)], "told to who did not ask"
        await good.resume(run)
        await asyncio.gather(run.finished(), theirs.finished())
        for one in (run, theirs):
            assert one.finish_reason == "max_new_tokens"
            assert [entry.interventions for entry in one.intervention_log] == [[]]
            assert_complete(served, one)
