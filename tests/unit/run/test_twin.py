"""A run and its clean twin: what each step tells of it, however and whenever it came to be carried."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.run.driving import PROMPT, TAG, Driven, small_engine, zero

from livelens.model.engine import F32
from livelens.model.fake import FakeEngine
from livelens.model.fake.sequence import FakeSequence
from livelens.protocol.messages import (
    CHANNELS,
    Channel,
    InterventionSegment,
    InterventionSpec,
    Sampling,
    Step,
    TwinStep,
)
from livelens.run.forking import fork_opening
from livelens.run.jobs import ForkJob, RunReady, TwinSet
from livelens.run.quantise import quantised
from livelens.run.run import Run

SPECS = [zero(("attn", 0, 0), ("mlp", 1, 0), ("head", 2, 1))]
LOG = [InterventionSegment(from_pos=0, interventions=SPECS)]
HOT = Sampling(temperature=1.0, seed=3, max_new_tokens=12)


def clean_logits(engine: FakeEngine, token_ids: Sequence[int]) -> F32:
    """[n, d_vocab]: one forward after the other, no intervention anywhere."""
    sequence = engine.open_sequence()
    return np.stack([sequence.forward([one], masks=None, channels=frozenset()).logits for one in token_ids])


def log_softmax(logits: F32) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max()
    result: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum())
    return result


def told(driven: Driven) -> dict[int, Step]:
    """By position, the last step that has a twin, or the last."""
    steps: dict[int, Step] = {}
    for step, _ in driven.steps:
        if step.twin is not None or step.pos not in steps:
            steps[step.pos] = step
    return steps


def twins(driven: Driven) -> dict[int, TwinStep]:
    return {pos: step.twin for pos, step in told(driven).items() if step.twin is not None}


def differences(driven: Driven) -> dict[int, dict[str, F32]]:
    return {step.pos: exact.difference for step, exact in driven.steps if exact.difference is not None}


def same_twins(a: dict[int, TwinStep], b: dict[int, TwinStep]) -> None:
    assert a.keys() == b.keys()
    for pos, one in a.items():
        assert (one.token_id, one.chosen_id, one.prefers_id) == (b[pos].token_id, b[pos].chosen_id, b[pos].prefers_id)
        assert one.kl == pytest.approx(b[pos].kl, abs=1e-6) and one.logprob == pytest.approx(b[pos].logprob, abs=1e-5)


def test_without_interventions_nothing_differs_at_any_position() -> None:
    plain, driven = (
        Driven(small_engine()).go().read_all(),
        Driven(small_engine(), twin="teacher_forced").go().read_all(),
    )
    assert driven.run.tokens == plain.run.tokens
    assert twins(driven).keys() == set(range(len(driven.run.tokens) - 1))
    for pos, step in told(driven).items():
        assert step.twin is not None and step.twin.kl == 0.0
        assert step.twin.logprob == step.logprob and step.twin.top_tokens == step.top_tokens
        assert all((values == 0).all() for values in differences(driven)[pos].values())


def test_teacher_forced_is_the_clean_model_on_the_patched_text() -> None:
    engine = small_engine()
    plain, driven = Driven(engine, log=LOG).go().read_all(), Driven(engine, log=LOG, twin="teacher_forced").go()
    driven.read_all()
    tokens = driven.run.tokens
    assert tokens == plain.run.tokens
    clean = clean_logits(engine, tokens)
    patched = {step.pos: step for step, _ in plain.steps}
    for pos, step in told(driven).items():
        own, other = step, step.twin
        assert other is not None and (other.token_id, other.chosen_id) == (tokens[pos], tokens[pos + 1])
        assert own.top_tokens == patched[pos].top_tokens and own.logprob == patched[pos].logprob
        logprobs = log_softmax(clean[pos])
        assert other.logprob == pytest.approx(logprobs[tokens[pos + 1]], abs=1e-5)
        assert other.prefers_id == int(clean[pos].argmax())
    assert max(twin.kl for twin in twins(driven).values()) > 0.1


def test_kl_is_that_of_the_two_forward_passes() -> None:
    engine = small_engine()
    driven = Driven(engine, log=LOG, twin="teacher_forced").go().read_all()
    tokens = driven.run.tokens
    masks = driven.run.analysis_context().segments[0].masks
    sequence = engine.open_sequence()
    for pos, clean in enumerate(clean_logits(engine, tokens[:-1])):
        own = sequence.forward([tokens[pos]], masks=masks, channels=frozenset()).logits
        p, q = log_softmax(own), log_softmax(clean)
        assert twins(driven)[pos].kl == pytest.approx(float((np.exp(p) * (p - q)).sum()), abs=1e-6)


def test_differences_are_this_run_minus_a_clean_one() -> None:
    engine = small_engine()
    driven = Driven(engine, log=LOG, twin="teacher_forced").go().read_all()
    n = len(driven.run.tokens) - 1
    sequence = engine.open_sequence()
    exacts = {step.pos: exact for step, exact in driven.steps if exact.neurons is not None}
    sources: frozenset[Channel] = frozenset(("neurons", "heads", "attention", "residual", "direct_logit"))
    for pos in range(n):
        captured = sequence.forward([driven.run.tokens[pos]], masks=None, channels=sources)
        chosen_id = driven.run.tokens[pos + 1]
        clean = captured.arrays(0, channels=sources, chosen_id=chosen_id, pair=driven.run.opening.pair)
        found = differences(driven)[pos]
        for name in ("neurons", "heads", "attention", "residual", "attn_out", "mlp_out"):
            np.testing.assert_array_equal(
                found[f"difference_{name}"], getattr(exacts[pos], name) - getattr(clean, name), err_msg=name
            )
        direct = exacts[pos].direct
        assert direct is not None and clean.direct is not None
        np.testing.assert_array_equal(found["difference_direct_heads"], direct.heads - clean.direct.heads)
        np.testing.assert_array_equal(found["difference_direct_mlps"], direct.mlps - clean.direct.mlps)


def test_every_difference_goes_on_the_wire_as_it_is_declared() -> None:
    driven = Driven(small_engine(), log=LOG, twin="teacher_forced").go().read_all()
    _, exact = next(pair for pair in driven.steps if pair[1].difference is not None)
    arrays = quantised(exact)
    kinds = {name: arrays[name].dtype.name for name in arrays if name.startswith("difference_")}
    floats = ("heads", "residual", "attn_out", "mlp_out", "direct_heads", "direct_mlps", "neurons_scale")
    assert kinds == {
        "difference_neurons": "int8",
        "difference_attention": "float16",
        **{f"difference_{name}": "float32" for name in floats},
    }


def test_above_512_keys_the_attention_difference_is_left_out() -> None:
    engine = small_engine(n_ctx=600)
    driven = Driven(engine, prompt=" nine" * 106, log=LOG, twin="teacher_forced", sampling=Sampling(max_new_tokens=1))
    driven.go()
    step, exact = driven.steps[-1]
    assert step.pos > 512 and "difference_attention" not in quantised(exact) and "difference_heads" in quantised(exact)


@pytest.mark.parametrize("n_before", [0, 1, 5])
@pytest.mark.parametrize("paused", [False, True])
def test_switched_on_in_mid_run_it_is_as_if_it_had_always_been_carried(n_before: int, paused: bool) -> None:
    engine = small_engine()
    whole = Driven(engine, log=LOG, twin="teacher_forced").go().read_all()
    driven = Driven(engine, log=LOG)
    driven.go(n_before)
    if paused:
        driven.run.pause(TAG)
        driven.go()
    driven.run.set_twin("teacher_forced", TAG)
    set_to = driven.reports[-1]
    assert isinstance(set_to, TwinSet) and set_to.tag == TAG and set_to.from_pos is not None
    if paused:
        driven.run.resume(TAG)
    driven.go().read_all()
    assert driven.run.tokens == whole.run.tokens
    same_twins(twins(driven), {pos: one for pos, one in twins(whole).items() if pos >= set_to.from_pos})
    assert twins(driven)


def test_switching_on_computes_nothing_of_the_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[tuple[bool, int]] = []
    forward = FakeSequence.forward

    def counted(self: FakeSequence, token_ids: Sequence[int], **others: object) -> object:
        computed.append((others["masks"] is None, len(token_ids)))
        return forward(self, token_ids, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeSequence, "forward", counted)
    driven = Driven(small_engine(), log=[InterventionSegment(from_pos=0, interventions=[])])
    driven.go(3)
    driven.intervene(SPECS)
    changed_at = driven.run.segments[-1].from_pos
    driven.go(8)
    computed.clear()
    driven.run.set_twin("teacher_forced", TAG)
    n_positions = driven.run.cache_positions
    driven.go(9)
    # The clean row's own past since the rows parted, then one position in each row.
    assert computed == [(True, n_positions - changed_at), (False, 1), (True, 1)]


def test_while_nothing_has_acted_one_row_is_computed_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[int] = []
    forward = FakeSequence.forward

    def counted(self: FakeSequence, token_ids: Sequence[int], **others: object) -> object:
        computed.append(len(token_ids))
        return forward(self, token_ids, **others)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeSequence, "forward", counted)
    driven = Driven(small_engine(), twin="free_running", sampling=HOT)
    driven.go(5)
    assert sum(computed) == driven.run.cache_positions
    driven.intervene(SPECS)
    computed.clear()
    driven.go(6)
    assert computed == [1, 1]


def test_free_running_texts_are_equal_where_nothing_acts_and_the_clean_runs_where_something_does() -> None:
    engine = small_engine()
    plain = Driven(engine, sampling=HOT).go()
    quiet = Driven(engine, sampling=HOT, twin="free_running").go().read_all()
    assert [quiet.run.tokens[0]] + [twins(quiet)[pos].chosen_id for pos in sorted(twins(quiet))] == quiet.run.tokens
    driven = Driven(engine, sampling=HOT, log=LOG, twin="free_running").go().read_all()
    patched = Driven(engine, sampling=HOT, log=LOG).go()
    found = twins(driven)
    text = [found[pos].token_id for pos in sorted(found)] + [found[max(found)].chosen_id]
    assert driven.run.tokens == patched.run.tokens != plain.run.tokens
    n = min(len(text), len(plain.run.tokens))
    assert text[:n] == plain.run.tokens[:n]
    logits = clean_logits(engine, [one for one in text if one is not None])
    for pos, one in found.items():
        chosen_id = told(driven)[pos].chosen_id
        assert one.logprob == pytest.approx(log_softmax(logits[pos])[chosen_id], abs=1e-5)


def test_a_clean_text_that_has_ended_has_no_twin_after_it() -> None:
    class Ending(FakeEngine):
        """Its clean text ends with the token that it chooses third."""

        @property
        def eos_ids(self) -> frozenset[int]:
            return frozenset(ends)

    ends: list[int] = []
    plain = Driven(small_engine(), sampling=HOT).go()
    patched = Driven(small_engine(), sampling=HOT, log=LOG).go()
    n_prompt = len(plain.prompt_ids)
    ends.append(plain.run.tokens[n_prompt + 2])
    assert ends[0] not in patched.run.tokens[n_prompt:]
    engine = Ending(n_layers=3, n_heads=2, d_mlp=24, n_ctx=128)
    driven = Driven(engine, sampling=HOT, log=LOG, twin="free_running").go().read_all()
    assert driven.run.tokens == patched.run.tokens
    assert max(twins(driven)) == n_prompt + 1 and twins(driven)[n_prompt + 1].chosen_id is None
    assert all(one.chosen_id is not None for pos, one in twins(driven).items() if pos <= n_prompt)
    # Run again from before its end, it has its twin again, and ends again.
    again = Driven(engine, sampling=HOT, log=LOG, twin="free_running")
    again.go(8).read_all()
    again.intervene(SPECS, mode="recompute", recompute_from=n_prompt - 2)
    again.steps.clear()
    again.go(9).read_all()
    assert sorted(twins(again)) == [n_prompt - 2, n_prompt - 1, n_prompt, n_prompt + 1]


def test_a_recompute_cuts_both_rows_and_both_go_on() -> None:
    engine = small_engine()
    driven = Driven(engine, log=LOG)
    driven.go(6)
    driven.run.set_twin("teacher_forced", TAG)
    driven.go(8)
    driven.reports.clear()
    driven.intervene(SPECS, mode="recompute", recompute_from=4)
    moved = [report for report in driven.reports if isinstance(report, TwinSet)]
    assert [(report.from_pos, report.tag) for report in moved] == [(4, None)]
    driven.steps.clear()
    driven.go().read_all()
    whole = Driven(engine, log=LOG, twin="teacher_forced").go().read_all()
    same_twins(twins(driven), {pos: one for pos, one in twins(whole).items() if pos >= 4})


@pytest.mark.parametrize("mode", ["teacher_forced", "free_running"])
def test_a_restart_under_another_set_equals_a_run_begun_with_it(mode: str) -> None:
    engine = small_engine()
    driven = Driven(engine, sampling=HOT, log=LOG, twin=mode)  # type: ignore[arg-type]
    driven.go(6)
    other = [zero(("mlp", 0, 0), name="b")]
    driven.intervene(other, mode="recompute", recompute_from=0, restart=True)
    driven.steps.clear()
    driven.go().read_all()
    log = [InterventionSegment(from_pos=0, interventions=other)]
    fresh = Driven(engine, sampling=HOT, log=log, twin=mode).go().read_all()  # type: ignore[arg-type]
    assert driven.run.tokens == fresh.run.tokens
    same_twins(twins(driven), twins(fresh))


def test_an_intervention_while_paused_is_seen_at_the_very_next_token() -> None:
    driven = Driven(small_engine(), start_paused=True, twin="teacher_forced").go()
    driven.intervene(SPECS)
    driven.run.step_once(TAG)
    driven.go()
    step, exact = driven.steps[-1]
    assert step.generated and step.twin is not None and step.twin.kl > 0
    assert exact.difference is not None and np.abs(exact.difference["difference_mlp_out"]).max() > 0


def test_off_drops_the_twin_and_leaves_the_run() -> None:
    engine = small_engine()
    driven = Driven(engine, log=LOG, twin="teacher_forced")
    driven.go(4)
    driven.run.set_twin("off", TAG)
    driven.go().read_all()
    off = [report for report in driven.reports if isinstance(report, TwinSet)][-1]
    assert (off.mode, off.from_pos) == ("off", None)
    assert driven.run.tokens == Driven(engine, log=LOG).go().run.tokens
    assert max(twins(driven)) < len(driven.run.tokens) - 2


def test_from_one_mode_to_the_other_what_both_have_in_common_is_kept() -> None:
    driven = Driven(small_engine(), sampling=HOT, log=LOG, twin="teacher_forced")
    driven.go(4)
    driven.run.set_twin("free_running", TAG)
    driven.go(9)
    driven.run.set_twin("teacher_forced", TAG)
    free, forced = [report.from_pos for report in driven.reports if isinstance(report, TwinSet)]
    driven.go().read_all()
    assert free == 0 and forced == len(driven.prompt_ids) + 8  # the texts parted: the past is another from there on
    tokens, found = driven.run.tokens, twins(driven)
    clean = clean_logits(small_engine(), tokens)
    for pos in range(forced, len(tokens) - 1):
        assert found[pos].logprob == pytest.approx(log_softmax(clean[pos])[tokens[pos + 1]], abs=1e-5)


def test_a_branch_has_the_runs_own_row_and_may_have_a_twin_of_its_own() -> None:
    engine = small_engine()
    parent = Driven(engine, log=LOG, twin="teacher_forced").go().read_all()
    at = len(parent.prompt_ids) + 3

    def branch(twin: str, interventions: list[InterventionSpec] | None) -> Driven:
        driven = object.__new__(Driven)
        driven.reports, driven.steps = [], []
        job = ForkJob(
            run_id="fork",
            tag=TAG,
            parent_id="run",
            from_pos=at,
            token_text=None,
            sampling=None,
            interventions=interventions,
            start_paused=False,
            channels=frozenset(CHANNELS),
            twin=twin,  # type: ignore[arg-type]
        )
        driven.run = Run(
            engine,
            fork_opening(engine, parent.run, job),
            emit=driven.reports.append,
            emit_step=lambda finish: driven.steps.append(finish()),
        )
        return driven.go().read_all()

    same = branch("teacher_forced", None)
    ready = same.reports[0]
    assert isinstance(ready, RunReady) and (ready.twin, ready.twin_from_pos) == ("teacher_forced", at - 1)
    assert same.run.tokens == parent.run.tokens
    same_twins(twins(same), {pos: one for pos, one in twins(parent).items() if pos >= at - 1})
    alone = branch("off", None)
    assert alone.run.tokens == parent.run.tokens and not twins(alone)
    freed = branch("teacher_forced", [])  # from there on nothing acts, and the past still differs
    found = twins(freed)
    clean = clean_logits(engine, freed.run.tokens)
    for pos, one in found.items():
        assert one.logprob == pytest.approx(log_softmax(clean[pos])[freed.run.tokens[pos + 1]], abs=1e-5)


def test_a_long_past_is_brought_up_in_pieces() -> None:
    engine = small_engine(n_ctx=1024)
    driven = Driven(engine, prompt=PROMPT + " nine" * 116, log=LOG, sampling=Sampling(max_new_tokens=4))
    driven.go(1)
    driven.run.pause(TAG)
    driven.run.set_twin("teacher_forced", TAG)
    pieces = 0
    while driven.run.wants_forward:  # also while it is paused: the next step need not wait for it
        driven.run.advance()
        pieces += 1
    assert pieces >= 2 and driven.n_generated == 1
    driven.run.resume(TAG)
    driven.go()
    tokens = driven.run.tokens
    newest = max(twins(driven))
    expected = log_softmax(clean_logits(engine, tokens[: newest + 1])[-1])[tokens[newest + 1]]
    assert twins(driven)[newest].logprob == pytest.approx(expected, abs=1e-5)
