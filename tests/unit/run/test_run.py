"""What a run does, token by token, without threads."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np
import pytest
from tests.unit.run.driving import ALL, PROMPT, Driven, by_hand, small_engine, zero

from livelens.model.engine import LensRows
from livelens.model.fake import FakeEngine
from livelens.model.fake.captured import FakeCaptured
from livelens.protocol.messages import InterventionSegment, RunFinished, RunRewound, Sampling
from livelens.run.jobs import Applied, StateChanged
from livelens.run.opening import RefusedError

HEADS = [zero(("head", 1, 0), ("head", 2, 1))]
MLP = [zero(("mlp", 1, 0), name="b")]


def finish_of(driven: Driven) -> RunFinished:
    driven.read_all()
    driven.run.tell_finish()
    return next(report for report in driven.reports if isinstance(report, RunFinished))


def test_greedy_tokens_are_the_argmax_of_a_forward_by_hand() -> None:
    engine = small_engine()
    driven = Driven(engine).go()
    logits = by_hand(engine, driven.run.tokens, [(0, [])])
    n_prompt = len(driven.prompt_ids)
    assert [int(row.argmax()) for row in logits[n_prompt - 1 : -1]] == driven.run.tokens[n_prompt:]
    assert driven.n_generated == 16


def test_every_position_is_reported_once_and_the_generated_ones_first() -> None:
    driven = Driven(small_engine()).go(3)
    n_prompt = len(driven.prompt_ids)
    assert [step.pos for step, _ in driven.steps] == [n_prompt - 1, n_prompt, n_prompt + 1]
    driven.read_all()
    reported = [step.pos for step, exact in driven.steps if exact.neurons is not None]
    assert reported[3:] == list(range(n_prompt - 1))
    assert [step.pos for step, exact in driven.steps if exact.lens is not None and exact.neurons is None] == list(
        range(n_prompt - 1)
    )


def test_a_position_that_is_looked_at_is_read_first_with_its_lens() -> None:
    driven = Driven(small_engine(), prompt="one two three four five six").go(1)
    n_prompt = len(driven.prompt_ids)
    assert n_prompt >= 5
    driven.run.reporter.tell_one()  # position 0 was reported and lacks its lens; the others were not reported
    driven.run.reporter.prefer_lens([3, 0, n_prompt + 50])
    driven.steps.clear()
    driven.run.reporter.tell_one()
    driven.run.reporter.tell_one()
    whole, late = driven.steps
    assert (whole[0].pos, whole[1].lens is not None, whole[1].neurons is not None) == (3, True, True)
    assert (late[0].pos, late[1].lens is not None, late[1].neurons is not None) == (0, True, False)
    driven.read_all()
    lenses = [step.pos for step, exact in driven.steps if exact.lens is not None]
    assert sorted(lenses) == list(range(n_prompt - 1)), "each lens once"


def test_a_tab_hidden_for_a_while_loses_nothing_that_was_captured() -> None:
    driven = Driven(small_engine(), prompt="one two three four five").go(1)
    driven.run.reporter.tell_one()
    driven.run.want_channels(frozenset())
    driven.run.reporter.tell_one()
    assert not driven.run.has_unread_lens  # nobody looks
    driven.run.want_channels(ALL)
    driven.read_all()
    n_prompt = len(driven.prompt_ids)
    for kind in ("neurons", "lens"):
        shown = [step.pos for step, exact in driven.steps if getattr(exact, kind) is not None]
        assert sorted(shown) == list(range(n_prompt)), kind


def test_chosen_token_text_and_score_go_with_the_position_before_it() -> None:
    driven = Driven(small_engine()).go().read_all()
    for step, _ in driven.steps:
        assert step.chosen_id == driven.run.tokens[step.pos + 1]
        assert step.generated == (step.pos + 1 >= len(driven.prompt_ids))
        assert step.logprob is not None and step.logprob <= 0
    generated = [step for step, exact in driven.steps if step.generated and exact.neurons is not None]
    assert "".join(step.text_delta for step in generated) == finish_of(driven).text


@pytest.mark.parametrize("at", [0, 1, 5, 11])
def test_from_now_holds_from_the_named_position_and_the_cache_keeps_the_rest(at: int) -> None:
    engine = small_engine()
    driven = Driven(engine).go(at)
    driven.intervene(HEADS)
    from_pos = next(report for report in driven.reports if isinstance(report, Applied)).applied.from_pos
    assert from_pos == (len(driven.prompt_ids) + at - 1 if at else 0)
    driven.go()
    logits = by_hand(engine, driven.run.tokens, [(0, []), (from_pos, HEADS)] if from_pos else [(0, HEADS)])
    n_prompt = len(driven.prompt_ids)
    assert [int(row.argmax()) for row in logits[n_prompt - 1 : -1]] == driven.run.tokens[n_prompt:]
    assert {step.pos: step.revision for step, _ in driven.steps} == {
        step.pos: int(step.pos >= from_pos) for step, _ in driven.steps
    }


def test_recompute_runs_the_positions_again_and_keeps_the_tokens() -> None:
    engine = small_engine()
    driven = Driven(engine).go(6).read_all()
    tokens = list(driven.run.tokens)
    driven.steps.clear()
    driven.intervene(MLP, mode="recompute", recompute_from=2)
    rewound = next(report for report in driven.reports if isinstance(report, RunRewound))
    assert (rewound.from_pos, rewound.n_tokens) == (2, len(tokens))
    driven.go(7).read_all()
    assert driven.run.tokens[: len(tokens)] == tokens
    positions = [step.pos for step, exact in driven.steps if exact.neurons is not None]
    assert sorted(positions) == list(range(2, len(driven.run.tokens) - 1))
    assert positions[0] == len(tokens) - 2, "the newest position comes before the older ones"
    logits = by_hand(engine, driven.run.tokens, [(0, []), (2, MLP)])
    assert int(logits[len(tokens) - 1].argmax()) == driven.run.tokens[len(tokens)]
    for step, _ in driven.steps:
        expected = logits[step.pos] - logits[step.pos].max()
        expected = expected[step.chosen_id] - np.log(np.exp(expected).sum())
        assert step.logprob == pytest.approx(float(expected), abs=1e-5)


def test_restart_begins_again_with_the_same_seed() -> None:
    sampling = Sampling(temperature=1.5, seed=7, max_new_tokens=12)
    engine = small_engine()
    plain = Driven(engine, sampling=sampling, log=[InterventionSegment(from_pos=0, interventions=HEADS)]).go()
    driven = Driven(engine, sampling=sampling).go(5)
    driven.intervene(HEADS, mode="recompute", restart=True)
    driven.go()
    assert driven.run.tokens == plain.run.tokens
    assert finish_of(driven).text == finish_of(plain).text


def test_the_same_seed_and_log_give_the_same_tokens() -> None:
    sampling = Sampling(temperature=1.2, top_k=20, seed=3, max_new_tokens=20)
    engine = small_engine()
    driven = Driven(engine, sampling=sampling).go(4)
    driven.intervene(HEADS)
    driven.go(9)
    driven.intervene([])
    driven.go()
    segments = [
        InterventionSegment(from_pos=report.applied.from_pos, interventions=report.applied.interventions)
        for report in driven.reports
        if isinstance(report, Applied)
    ]
    assert Driven(engine, sampling=sampling, log=segments).go().run.tokens == driven.run.tokens


def test_other_runs_do_not_disturb_the_sampler() -> None:
    sampling = Sampling(temperature=1.2, seed=3, max_new_tokens=10)
    engine = small_engine()
    alone = Driven(engine, sampling=sampling).go().run.tokens
    first, second = Driven(engine, sampling=sampling), Driven(engine, sampling=sampling)
    while first.run.wants_forward or second.run.wants_forward:
        for driven in (first, second):
            if driven.run.wants_forward:
                driven.run.advance()
    assert first.run.tokens == alone
    assert second.run.tokens == alone


def test_what_is_watched_changes_no_token() -> None:
    engine = small_engine()
    assert Driven(engine, channels=frozenset()).go().run.tokens == Driven(engine, channels=ALL).go().run.tokens


def test_a_paused_start_computes_the_prompt_and_waits() -> None:
    driven = Driven(small_engine(), start_paused=True).go()
    assert driven.n_generated == 0
    assert driven.run.state == "paused"
    driven.run.step_once(None)
    driven.go()
    assert driven.n_generated == 1
    assert driven.run.state == "paused"
    driven.run.resume(None)
    driven.go()
    assert driven.run.tokens == Driven(small_engine()).go().run.tokens


def test_an_intervention_on_a_paused_start_reaches_the_first_token() -> None:
    engine = small_engine()
    driven = Driven(engine, start_paused=True).go()
    driven.intervene(HEADS)
    n_prompt = len(driven.prompt_ids)
    assert next(report for report in driven.reports if isinstance(report, Applied)).applied.from_pos == n_prompt - 1
    driven.run.resume(None)
    driven.go()
    logits = by_hand(engine, driven.run.tokens, [(0, []), (n_prompt - 1, HEADS)])
    assert int(logits[n_prompt - 1].argmax()) == driven.run.tokens[n_prompt]


def test_stop_keeps_the_text_and_is_told_once() -> None:
    driven = Driven(small_engine()).go(4)
    driven.run.stop("stopped", "stopped by a viewer", None)
    driven.run.stop("stopped", "again", None)
    assert not driven.run.wants_forward
    assert finish_of(driven).reason == "stopped"
    assert finish_of(driven).n_generated == 4
    states = [report.state for report in driven.reports if isinstance(report, StateChanged)]
    assert states == ["running", "finished"]


def test_a_word_that_ends_the_text_ends_the_run_and_is_not_shown() -> None:
    engine = small_engine()
    driven = Driven(engine, prompt="say goodbye", sampling=Sampling(temperature=0.01, max_new_tokens=50)).go()
    if driven.run.finish_reason != "eos":  # force it: bias the sampler by a model that can only say the end
        driven = Driven(_only_eos(), prompt="say goodbye").go()
    finish = finish_of(driven)
    assert finish.reason == "eos"
    assert driven.run.tokens[-1] in engine.eos_ids
    assert "<eos>" not in finish.text


def _only_eos() -> FakeEngine:
    engine = small_engine()
    engine.weights.W_U[1:] = -np.abs(engine.weights.W_U[1:]).max()
    engine.weights.W_U[0] = 0
    return engine


@pytest.mark.parametrize("n_ctx", range(14, 40, 5))
def test_the_context_ends_the_run_and_every_length_is_harmless(n_ctx: int) -> None:
    engine = small_engine(n_ctx)
    try:
        driven = Driven(engine, sampling=Sampling(max_new_tokens=1_000_000)).go()
    except RefusedError as error:
        assert error.code == "prompt_too_long"
        assert len(engine.tokenize(PROMPT, apply_chat_template=False)) > n_ctx
    else:
        assert finish_of(driven).reason == "context_full"
        assert len(driven.run.tokens) == n_ctx + 1


@pytest.mark.parametrize("layer", range(3))
@pytest.mark.parametrize("kind", ["mlp", "attn"])
def test_nonfinite_logits_stop_the_run_and_name_the_first_layer(layer: int, kind: str) -> None:
    engine = small_engine()
    driven = Driven(engine).go(3)
    huge = [
        type(spec)(intervention_id=f"{i}", operation="scale", components=spec.components, amount=1000)
        for i, spec in enumerate([zero((kind, layer, 0))] * 14)
    ]
    driven.intervene(huge)
    driven.go()
    finish = finish_of(driven)
    assert finish.reason == "nonfinite"
    assert f"layer {layer}" in finish.message
    assert finish.n_generated == 3, "no token is chosen from what is not a number"


def test_a_target_of_several_tokens_uses_the_first_and_says_so() -> None:
    driven = Driven(small_engine(), target="zebra crossing", distractor=" Mary").go(1)
    ready = driven.reports[0]
    assert "first" in (ready.notice or "")  # type: ignore[union-attr]
    assert driven.steps[0][0].direct_target_id == small_engine().token_ids("z")[0]


def test_target_and_distractor_must_differ() -> None:
    with pytest.raises(RefusedError) as refusal:
        Driven(small_engine(), target=" Mary", distractor=" Mary")
    assert refusal.value.code == "same_target_and_distractor"


def test_direct_contributions_sum_to_the_metric() -> None:
    for step, exact in Driven(small_engine(), target=" Mary", distractor=" John").go().read_all().steps:
        direct = exact.direct
        if direct is None:
            continue
        total = direct.heads.sum() + direct.mlps.sum() + direct.attn_bias.sum() + direct.embed + direct.final_bias
        assert float(total) == pytest.approx(direct.total, rel=1e-3, abs=1e-4), step.pos


def test_a_step_whose_lens_failed_is_told_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def failed(self: FakeCaptured, index: int, *, chosen_id: int) -> Future[LensRows]:
        lens: Future[LensRows] = Future()
        lens.set_exception(MemoryError("no room for the lens"))
        return lens

    whole = Driven(small_engine()).go(4)
    monkeypatch.setattr(FakeCaptured, "lens", failed)
    driven = Driven(small_engine()).go(4)
    assert [step.chosen_id for step, _ in driven.steps] == [step.chosen_id for step, _ in whole.steps]
    assert all(exact.lens is None and exact.neurons is not None for _, exact in driven.steps)
    assert all(exact.lens is not None for _, exact in whole.steps)
