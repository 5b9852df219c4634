"""Several viewers on one server: a run each, or one run together, and none when nobody is left."""

from __future__ import annotations

import asyncio

from tests.integration.checks import assert_complete
from tests.integration.serving import PROMPT, serving, small_engine

from livelens.client import ClientRun, LivelensError, ablate
from livelens.protocol.messages import CHANNELS


async def test_two_viewers_of_one_run_end_with_the_same() -> None:
    async with serving() as served, served.client() as first, served.client() as second:
        run = await first.start_run(PROMPT, channels=CHANNELS, max_new_tokens=30, start_paused=True)
        for _ in range(5):
            await first.step_once(run)
        await run.until(lambda it: len(it.tokens) == it.n_prompt_tokens + 5)
        joined = await second.join_run(run.run_id, channels=CHANNELS)
        assert joined.token_ids == run.token_ids
        await second.set_interventions(joined, [ablate("L1H0")])
        await second.resume(joined)
        await asyncio.gather(run.finished(), joined.finished())
        for one in (run, joined):
            assert_complete(served, one)
        assert run.intervention_log == joined.intervention_log
        assert run.intervention_log[-1].author == second.viewer_id


async def test_each_viewer_has_its_own_run() -> None:
    async with serving() as served, served.client() as first, served.client() as second:
        runs = await asyncio.gather(
            first.start_run(PROMPT, max_new_tokens=25), second.start_run(PROMPT + " Rome", max_new_tokens=25)
        )
        await asyncio.gather(*(run.finished() for run in runs))
        alone = await first.start_run(PROMPT, max_new_tokens=25)
        await alone.finished()
        assert runs[0].token_ids == alone.token_ids != runs[1].token_ids


async def test_of_two_starts_at_once_the_second_counts() -> None:
    async with serving() as served, served.client() as client:
        results = await asyncio.gather(
            *(client.start_run(f"{PROMPT} {i}", max_new_tokens=5) for i in range(4)), return_exceptions=True
        )
        failed = [result for result in results if isinstance(result, LivelensError)]
        assert all(error.code == "superseded" for error in failed)
        assert isinstance(results[-1], ClientRun)
        assert await results[-1].finished() == "max_new_tokens"


async def test_a_run_that_nobody_watches_ends_after_the_grace_time() -> None:
    async with serving(small_engine(tokens_per_second=10), grace_secs=0.1) as served:
        async with served.client() as client:
            run = await client.start_run(PROMPT, max_new_tokens=400)
            await run.until(lambda it: len(it.steps) > 3)
        async with served.client() as late:
            record = served.server.session.records[run.run_id]
            async with asyncio.timeout(30):  # it would last for forty
                while record.finish_reason is None:
                    await late.ping()
                    await asyncio.sleep(0.02)
            assert record.finish_reason == "abandoned"
            joined = await late.join_run(run.run_id)
            assert joined.text and joined.finish_reason == "abandoned", "its text stays readable"
