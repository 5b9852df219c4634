"""Questions about runs of the shipped model, asked over a real websocket."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from tests.integration.serving import PROMPT, Served, serving

from livelens.client import Client, ClientRun, LivelensError, ablate
from livelens.model.frozen import FrozenModel
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import ANALYSIS_KINDS, Answer, Event

MARY_JOHN = {"target": " Mary", "distractor": " John"}


@asynccontextmanager
async def asking(engine: TorchEngine) -> AsyncIterator[tuple[Served, Client, ClientRun, int]]:
    """A viewer of a paused run with one generated token, and the position before that token."""
    async with serving(engine) as served, served.client() as client:
        run = await paused_run(client)
        yield served, client, run, run.n_prompt_tokens - 1
        assert engine.hooks_left() == 0


async def paused_run(client: Client) -> ClientRun:
    run = await client.start_run(PROMPT, channels=[], start_paused=True)
    await client.step_once(run)
    await run.until(lambda it: len(it.tokens) == it.n_prompt_tokens + 1)
    return run


async def refusal(work: Awaitable[object]) -> LivelensError:
    with pytest.raises(LivelensError) as refused:
        await work
    return refused.value


async def test_why_mary_and_not_john(engine: TorchEngine) -> None:
    """Attributed, conserved, and measured; clicking on from node to node costs no new forward pass."""
    assert set(engine.info.capabilities.analyses) == set(ANALYSIS_KINDS)
    async with asking(engine) as (_, client, run, pos):
        seen: list[tuple[int, int]] = []
        of_logit = await client.attribution(
            run, pos=pos, **MARY_JOHN, progress=lambda done, total: seen.append((done, total))
        )
        assert seen and all(done <= total for done, total in seen)
        metric = of_logit.metric
        assert (metric.target_text, metric.distractor_text, metric.notice) == (" Mary", " John", None)
        assert of_logit.parts[0].edges[0].writer == f"L23H3@{pos}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(FrozenModel, "run", None)
            of_head = await client.attribution(run, pos=pos, **MARY_JOHN, node=f"L23H3@{pos}")
            of_neuron = await client.attribution(run, pos=pos, **MARY_JOHN, node=of_logit.parts[0].neurons[0].writer)
            onwards = await client.attribution(run, pos=pos, **MARY_JOHN, node="embed@1", direction="outgoing")
        assert [part.part for part in of_head.parts] == ["value", "query", "key"]
        assert of_head.parts[1].key_pos == of_head.parts[2].key_pos == 9, "it looks at the second John"
        for answer in (of_logit, of_head, of_neuron, onwards):
            for part in answer.parts:
                total = sum(edge.weight for edge in part.edges) + part.rest + part.bias
                assert total + part.error == pytest.approx(part.value, rel=1e-4, abs=1e-4)
                assert abs(part.error) <= 1e-3 * max(1, abs(part.value))
        overview = await client.overview(run, pos=pos, **MARY_JOHN)
        assert overview.shown == pytest.approx(1, abs=1e-3)
        assert overview.layer_line[-1] == pytest.approx(metric.value, rel=1e-3)
        assert overview.direct_heads[23, 3] == pytest.approx(of_logit.parts[0].edges[0].weight, rel=1e-4)
        measured = await client.measure(run, ["L23H3", "L0H0"], pos=pos, **MARY_JOHN)
        assert measured.attributed is not None
        assert measured.attributed[0] == pytest.approx(of_head.relevance, rel=1e-3)
        assert measured.effects[0] > 10 * abs(measured.effects[1]) / 2 > 0


async def test_importance_and_paths_reach_the_input_tokens(engine: TorchEngine) -> None:
    """Each method says what it lacks."""
    async with asking(engine) as (_, client, run, pos):
        frozen = await client.relevance(run, pos=pos, **MARY_JOHN)
        assert frozen.tokens.shape == (pos + 1,)
        assert abs(frozen.error) <= 1e-3 * abs(frozen.metric.value)
        plain = await client.relevance(run, pos=pos, **MARY_JOHN, method="gradient_x_input")
        assert plain.error == pytest.approx(plain.total - plain.metric.value)
        paths = await client.paths(run, pos=pos, **MARY_JOHN, n_nodes=30)
        ids = {node.node for node in paths.nodes}
        assert f"logit@{pos}" in ids and any(node.startswith("embed@") for node in ids) and len(ids) <= 30
        assert all({edge.writer, edge.reader} <= ids for edge in paths.edges)
        assert 0 < paths.shown <= 1
        assert next(node.label for node in paths.nodes if node.node == f"logit@{pos}") == " Mary"


async def test_what_parts_do(engine: TorchEngine, tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Head, heads, neuron."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    async with asking(engine) as (_, client, run, pos):
        info = client.model_info
        scores = await client.head_scores(run)
        assert len(scores.scores) == info.n_layers * info.n_heads
        head = await client.head_profile(run, layer=23, head_index=3)
        assert head.pattern.shape == (pos + 1, pos + 1) and head.score in scores.scores
        np.testing.assert_allclose(head.pattern.sum(1), 1, atol=1e-2)
        neuron = await client.neuron_profile(run, layer=20, neuron_index=5)
        assert neuron.histogram.sum() == pos + 1


async def test_an_untold_target_is_the_token_that_followed_or_would_follow(engine: TorchEngine) -> None:
    """And the distractor the likeliest other one; a text of several tokens is told."""
    async with asking(engine) as (_, client, run, pos):
        followed = await client.overview(run, pos=pos)
        assert followed.metric.target_id == run.tokens[pos + 1].token_id
        held = await client.start_run(PROMPT, channels=[], start_paused=True)
        await held.until(lambda it: len(it.steps) >= it.n_prompt_tokens - 1)
        ending = await client.overview(held, pos=held.n_prompt_tokens - 1)
        assert ending.metric.target_id == followed.metric.target_id, "the run was greedy"
        assert ending.metric.value == pytest.approx(followed.metric.value, rel=1e-4)
        assert ending.metric.value > 0
        of_mean = await client.overview(held, pos=pos, target=" Mary", against_mean=True)
        assert of_mean.metric.distractor_id is None
        several = await client.overview(held, pos=pos, target=" Marylebone")
        assert several.metric.notice is not None and "tokens" in several.metric.notice


async def test_a_generating_run_is_not_disturbed_and_nobody_else_hears_the_answer(engine: TorchEngine) -> None:
    """Two viewers, one of them watching another run as well as the first one's."""
    async with asking(engine) as (served, client, run, pos), served.client() as busy, served.client() as listener:
        quiet = await busy.start_run("The Eiffel Tower is in", channels=[], max_new_tokens=40)
        await quiet.finished()
        heard: list[Event] = []
        await listener.join_run(run.run_id, channels=[])
        take = listener._connection._on_event
        listener._connection._on_event = lambda event: (heard.append(event), take(event))[1]
        going = await busy.start_run("The Eiffel Tower is in", channels=[], max_new_tokens=40)
        await going.until(lambda it: len(it.tokens) > it.n_prompt_tokens)
        seen: list[int] = []
        answer = await client.measure(
            run, ["L23H3"], pos=pos, **MARY_JOHN, progress=lambda done, total: seen.append(len(going.tokens))
        )
        assert answer.effects[0] > 1
        await going.finished()
        assert going.token_ids == quiet.token_ids
        await listener.ping()
        assert not [event for event in heard if isinstance(event, Answer)]


async def test_a_cancelled_question_is_let_go_of(engine: TorchEngine) -> None:
    """Cancelling the task is all it takes; what comes after is answered."""
    async with asking(engine) as (_, client, run, pos):
        has_begun = asyncio.Event()
        task = asyncio.create_task(
            client.relevance(run, pos=pos, method="integrated_gradients", progress=lambda done, total: has_begun.set())
        )
        await has_begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await client.overview(run, pos=pos)
        assert not [thread for thread in threading.enumerate() if thread.name == "livelens-steps"]


async def test_a_newer_question_of_the_kind_supersedes_the_older(engine: TorchEngine) -> None:
    """The older is told so."""
    async with asking(engine) as (_, client, run, pos):
        older = asyncio.create_task(client.measure(run, scope="heads", pos=pos, **MARY_JOHN))
        await asyncio.sleep(0)
        newer = asyncio.create_task(client.measure(run, ["L23H3"], pos=pos, **MARY_JOHN))
        assert (await refusal(older)).code == "superseded"
        assert len((await newer).effects) == 1


async def test_a_run_that_moves_on_ends_its_questions(engine: TorchEngine) -> None:
    """A recompute voids the position that is asked about; leaving the run gives its questions up."""
    async with asking(engine) as (_, client, run, pos):
        heads = {"scope": "heads", "pos": pos, "everywhere": True}
        question = asyncio.create_task(client.measure(run, **heads))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await client.set_interventions(run, [ablate("L23H3")], mode="recompute", recompute_from=2)
        assert (await refusal(question)).code == "run_rewound"
        await run.until(lambda it: len(it.steps) == it.n_prompt_tokens)
        ablated = await client.measure(run, ["L23H3"], pos=pos, **MARY_JOHN)
        assert ablated.effects[0] == pytest.approx(0, abs=1e-4), "it is ablated already"
        question = asyncio.create_task(client.measure(run, **heads))  # type: ignore[arg-type]
        await asyncio.sleep(0)
        await paused_run(client)
        assert (await refusal(question)).code == "cancelled"


async def test_bad_questions_are_one_clear_error_each(engine: TorchEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next good one is answered."""
    async with asking(engine) as (served, client, run, pos), served.client() as stranger:
        at = {"pos": pos, **MARY_JOHN}

        async def refused(work: Awaitable[object], code: str, *words: str) -> None:
            error = await refusal(work)
            assert error.code == code, error
            assert all(word in error.message for word in words), error

        attribution, measure = client.attribution, client.measure
        await refused(attribution(run, pos=pos, target=" Mary", distractor=" Mary"), "same_target_and_distractor")
        await refused(attribution(run, pos=pos, target=49152), "token_unknown", "0 to 49151")
        await refused(attribution(run, pos=pos + 2), "position_out_of_range", f"0 to {pos + 1}")
        await refused(attribution(run, pos=pos + 1), "not_computed", f"0 to {pos}")
        await refused(attribution(run, **at, node="L30H0@3"), "node_out_of_range", "0 to 29")
        await refused(attribution(run, **at, node="L3H9@3"), "node_out_of_range", "0 to 8")
        await refused(attribution(run, **at, node=f"L3H1@{pos + 1}"), "node_out_of_range", "outside the run")
        await refused(attribution(run, **at, node="logit@3"), "node_out_of_range", f"logit@{pos}")
        await refused(attribution(run, **at, node="embed@3"), "bad_question", "nothing feeds")
        await refused(attribution(run, **at, node="L3H1@3", key_pos=4), "position_out_of_range", "0 to 3")
        await refused(attribution(run, **at, node="somewhere"), "bad_node", "L12H3@37")
        await refused(measure(run, ["L30H0"], **at), "component_out_of_range", "0 to 29")
        await refused(measure(run, [], **at), "no_components")
        await refused(client.head_profile(run, layer=30, head_index=0), "component_out_of_range", "0 to 29")
        await refused(client.head_profile(run, layer=0, head_index=0, query_pos=99), "position_out_of_range")
        await refused(client.neuron_profile(run, layer=0, neuron_index=1536), "component_out_of_range", "0 to 1535")
        await refused(stranger.overview(run, **at), "not_watching")
        with monkeypatch.context() as patch:
            patch.setattr(FrozenModel, "max_positions", lambda self: pos - 1)
            earlier = {**at, "pos": pos - 1}
            await refused(client.overview(run, **earlier), "run_too_long", f"at most {pos - 1}")
            unattributed = await measure(run, ["L23H3"], **earlier)
            assert unattributed.attributed is None, "what cannot be linearised can be measured all the same"
        linearised = await client.overview(run, **earlier)
        assert unattributed.metric.value == pytest.approx(linearised.metric.value, rel=1e-3)
        assert (await client.overview(run, **at)).shown == pytest.approx(1, abs=1e-3)


async def test_the_fake_engine_says_what_it_does_not_answer() -> None:
    """It declares so, and refuses."""
    async with serving() as served, served.client() as client:
        assert "overview" not in client.model_info.capabilities.analyses
        run = await client.start_run(PROMPT, max_new_tokens=2)
        await run.finished()
        error = await refusal(client.overview(run, pos=0))
        assert error.code == "analysis_unavailable" and "real one" in error.message
