"""One viewer and its run over a real socket: whole, exact, and alive after bad input."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from tests.integration.checks import assert_complete, server_history
from tests.integration.gate import Gate
from tests.integration.serving import PROMPT, serving, small_engine

from livelens.client import LivelensError, ablate
from livelens.protocol.messages import CHANNELS, InterventionSegment, Sampling


async def test_a_run_is_streamed_whole_and_its_arrays_have_their_shapes() -> None:
    async with serving() as served, served.client() as client:
        run = await client.start_run(PROMPT, channels=CHANNELS, max_new_tokens=20, target_token=" Mary")
        seen = [step async for step in run]
        assert await run.finished() == "max_new_tokens"
        assert_complete(served, run)
        assert sorted(step.pos for step in seen) == sorted(run.steps)
        info = client.model_info
        for step in seen:
            assert step.neurons.shape == (info.n_layers, info.d_mlp)
            assert step.heads.shape == (info.n_layers, info.n_heads)
            assert step.attention.shape == (info.n_layers, info.n_heads, step.pos + 1)
            np.testing.assert_allclose(step.attention.sum(-1), 1, atol=(step.pos + 1) / 510)
            assert step.residual.shape == (info.n_layers + 1,)
            exact = server_history(served, run).exact(step.pos)
            assert exact is not None and exact.neurons is not None
            error = np.abs(np.sqrt(np.abs(step.neurons)) - np.sqrt(np.abs(exact.neurons)))
            assert (error <= np.sqrt(np.abs(exact.neurons).max(1, keepdims=True)) / 254 + 1e-5).all()


async def test_exact_values_and_attention_rows_are_one_request_away() -> None:
    async with serving() as served, served.client() as client:
        run = await client.start_run(PROMPT, max_new_tokens=6)
        await run.finished()
        values = await client.request_values(run, ["L1N3", "L0H1", "L2.mlp", "L1.attn"])
        assert values.exact and values.values.shape == (4, len(run.tokens))
        exact = server_history(served, run).exact(2)
        assert exact is not None and exact.neurons is not None and exact.heads is not None
        assert values.values[0, 2] == exact.neurons[1, 3]
        assert values.values[1, 2] == exact.heads[0, 1]
        assert np.isnan(values.values[0, -1]), "the last token was chosen, its own position never computed"
        row = await client.request_attention(run, layer=1, head_index=0, query_pos=5)
        assert row.exact and row.row.sum() == pytest.approx(1, abs=1e-5)
        with pytest.raises(LivelensError) as refusal:
            await client.request_values(run, ["L99N3"])
        assert refusal.value.code == "component_out_of_range"
        assert "0 to 2" in refusal.value.message


async def test_an_ablation_takes_effect_one_step_later_and_is_acknowledged_with_its_position(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It comes while a token is being computed, which is the last one without it."""
    gate = Gate(monkeypatch)
    async with serving() as served, served.client() as client:
        run = await client.start_run(PROMPT, max_new_tokens=60, start_paused=True)
        gate.hold_at(run.n_prompt_tokens + 10)
        await client.resume(run)
        await run.until(lambda it: len(it.tokens) == it.n_prompt_tokens + 11)
        setting = asyncio.create_task(client.set_interventions(run, [ablate("L1.mlp", "L2.attn")]))
        await asyncio.sleep(0)  # it is sent
        await client.ping()  # it has come
        computed = len(run.tokens) - 1
        gate.let()
        applied = await setting
        assert applied.from_pos == computed + 1
        await run.finished()
        assert all(step.info.revision == int(pos >= applied.from_pos) for pos, step in run.steps.items())
        log = [InterventionSegment(from_pos=e.from_pos, interventions=e.interventions) for e in run.intervention_log]
        again = await client.start_run(PROMPT, max_new_tokens=60, intervention_log=log)
        await again.finished()
        assert again.token_ids == run.token_ids
        plain = await client.start_run(PROMPT, max_new_tokens=60)
        await plain.finished()
        assert plain.token_ids != run.token_ids, "an ablation visibly changes the text"


async def test_bad_input_is_one_error_each_and_the_session_lives_on() -> None:
    async with serving(small_engine(n_ctx=64)) as served, served.client() as client:

        async def refused(work: object) -> str:
            with pytest.raises(LivelensError) as refusal:
                await work  # type: ignore[misc]
            return refusal.value.code

        run = await client.start_run(PROMPT, max_new_tokens=1000)
        assert await run.finished() == "context_full"
        assert await refused(client.start_run("word " * 100)) == "prompt_too_long"
        assert await refused(client.start_run("x", target_token=" Mary", distractor_token=" Mary")) == (
            "same_target_and_distractor"
        )
        assert await refused(client.pause(run)) == "run_ended"
        assert await refused(client.set_interventions(run, [])) == "run_ended"
        assert await refused(client.join_run("nonsense")) == "run_unknown"
        assert await client.stop(run) == "finished", "stop is harmless when the run has ended"
        assert await refused(client.request_positions(run, [5000])) == "position_out_of_range"
        paused = await client.start_run("x", start_paused=True)
        for component in ("L3H0", "L0H2", "L0N24", "L99.mlp"):
            assert await refused(client.set_interventions(paused, [ablate(component)])) == "bad_interventions"
        assert await client.ping() > 0


async def test_an_engine_fault_ends_one_run_and_not_the_server() -> None:
    engine = small_engine()
    async with serving(engine) as served, served.client() as client:
        original = engine.weights.W_U
        object.__setattr__(engine.weights, "W_U", np.zeros((3, 3), np.float32))
        run = await client.start_run(PROMPT)
        assert await run.finished() == "engine_fault"
        object.__setattr__(engine.weights, "W_U", original)
        again = await client.start_run(PROMPT, max_new_tokens=5)
        assert await again.finished() == "max_new_tokens"
        assert engine.hooks_left() == 0


async def test_a_hidden_viewer_gets_tokens_only_and_a_keyframe_on_return() -> None:
    async with serving() as served, served.client() as client:
        run = await client.start_run(PROMPT, start_paused=True, channels=["neurons"])
        await client.step_once(run)
        await client.subscribe(["neurons"], visible=False)
        await client.step_once(run)
        await client.step_once(run)
        await run.until(lambda it: len(it.tokens) == it.n_prompt_tokens + 3)
        assert "neurons" not in run.steps[run.n_prompt_tokens + 1].tensors
        await client.subscribe(["neurons"], visible=True)
        await client.step_once(run)
        await run.until(lambda it: len(it.tokens) == it.n_prompt_tokens + 4)
        assert "neurons" in run.steps[run.n_prompt_tokens + 2].tensors


async def test_nothing_is_left_when_the_server_has_closed() -> None:
    before = {thread.name for thread in threading.enumerate()}
    async with serving() as served, served.client(reconnect_secs=0) as client:
        run = await client.start_run(PROMPT, sampling=Sampling(max_new_tokens=10_000))
        await run.until(lambda it: len(it.steps) > 2)
        await served.server.close()
        with pytest.raises(LivelensError):
            await run.finished()
    left = {task for task in asyncio.all_tasks() if task is not asyncio.current_task()}
    assert not left, left
    names = {thread.name for thread in threading.enumerate() if thread.is_alive()} - before
    assert not any(name.startswith("livelens-model") for name in names)
