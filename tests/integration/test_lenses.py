"""Looking into tokens over a real websocket: the fake engine answers by its own numbers, and refusals say the limit."""

from __future__ import annotations

import numpy as np
import pytest
from tests.integration.serving import PROMPT, serving, small_engine

from livelens.client import Client, ClientRun, LivelensError, StepData


async def finished_run(client: Client) -> ClientRun:
    run = await client.start_run(PROMPT, max_new_tokens=4, channels=["logit_lens", "direct_logit"])
    await run.finished()
    return run


async def last_step(run: ClientRun) -> StepData:
    """The last step with all channels that was generated."""
    steps = [step async for step in run if step.info.generated and step.info.chosen_id is not None]
    return steps[-1]


async def test_every_lens_is_answered_and_agrees_with_the_step() -> None:
    async with serving(small_engine()) as served, served.client() as client:
        run = await finished_run(client)
        step = await last_step(run)
        lens = await client.lens(run, pos=step.pos, n_tokens=3)
        assert [len(top) for top in lens.top] == [3] * 3
        assert lens.target_id == step.info.chosen_id
        np.testing.assert_array_equal(lens.rank, step.tensors["lens_rank"])
        np.testing.assert_array_equal([top[0].token_id for top in lens.top], step.tensors["lens_token_id"])
        heads = await client.head_lens(run, pos=step.pos)
        np.testing.assert_allclose(heads.direct_heads, step.tensors["direct_heads"], rtol=1e-3, atol=1e-5)
        assert heads.head_token_id.shape == (3, 2, 5)
        assert {int(i) for i in heads.head_token_id.ravel()} <= set(heads.words)
        looks = await client.attention_entropy(run, pos=step.pos)
        assert looks.entropy.shape == (3, 2)
        assert (looks.entropy <= np.log(step.pos + 1) + 1e-4).all()
        paths = await client.stream_pca(run, skip_first=1)
        assert paths.coordinates.shape == (run.n_prompt_tokens + 3, 4, 3)
        assert 0 < paths.explained.sum() <= 1.0001


async def test_what_cannot_be_looked_into_is_refused_with_its_limit() -> None:
    async with serving(small_engine()) as served, served.client() as client:
        run = await finished_run(client)
        n = len(run.tokens)
        for question in (client.lens, client.head_lens, client.attention_entropy):
            with pytest.raises(LivelensError, match=f"positions 0 to {n - 1}"):
                await question(run, pos=n)
        with pytest.raises(LivelensError, match="not in the vocabulary"):
            await client.lens(run, pos=0, target=10**6)
        with pytest.raises(LivelensError, match="cannot leave out"):
            await client.stream_pca(run, skip_first=n)
