"""A run that branches off another: what it keeps, what it shares, what it may change, what it refuses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from tests.unit.session.hub import Hub, SimViewer, greedy
from tests.unit.session.test_recording import saved

from livelens.client.run import ClientRun
from livelens.model.fake import FakeEngine
from livelens.model.fake.captured import FakeCaptured
from livelens.model.fake.sequence import FakeSequence
from livelens.protocol.codec import encode_command
from livelens.protocol.messages import (
    Component,
    ErrorReport,
    ForkRun,
    InterventionSegment,
    InterventionSpec,
    Pause,
    RunStarted,
    Sampling,
    SetInterventions,
)
from livelens.recordings import parse_recording
from livelens.run import scheduler
from livelens.session import session

SAMPLED = Sampling(temperature=1.0, seed=7, max_new_tokens=10, stop_at_eos=False)
NO_HEAD = InterventionSpec(intervention_id="h", operation="zero", components=[Component("head", 0, 1)])
NO_MLP = InterventionSpec(intervention_id="m", operation="zero", components=[Component("mlp", 1)])


def fork(viewer: SimViewer, run: ClientRun, from_pos: int, **options: object) -> RunStarted | ErrorReport:
    answer = viewer.ask(
        ForkRun(request_id=viewer.next_id(), run_id=run.run_id, from_pos=from_pos, **options)  # type: ignore[arg-type]
    )
    assert isinstance(answer, RunStarted | ErrorReport)
    return answer


def finished_run(viewer: SimViewer, **options: object) -> ClientRun:
    viewer.start(**options)
    return finish(viewer)


def finish(viewer: SimViewer) -> ClientRun:
    viewer.hub.work_all()
    viewer.drain()
    assert viewer.run is not None and viewer.run.is_complete
    return viewer.run


def fork_and_finish(viewer: SimViewer, run: ClientRun, from_pos: int, **options: object) -> ClientRun:
    answer = fork(viewer, run, from_pos, **options)
    assert isinstance(answer, RunStarted), answer
    return finish(viewer)


def assert_same_steps(one: ClientRun, other: ClientRun) -> None:
    assert set(one.steps) == set(other.steps)
    for pos, step in one.steps.items():
        # What is measured live is measured of a token as it is chosen, not of one that is computed again.
        names = {name for name in step.tensors if not name.startswith("causal")}
        assert names == {name for name in other.steps[pos].tensors if not name.startswith("causal")}
        for name in names:
            values = step.tensors[name]
            np.testing.assert_array_equal(values, other.steps[pos].tensors[name], err_msg=f"{name} at {pos}")
        for field in ("token_id", "chosen_id", "logprob", "entropy", "top_tokens", "lens_texts", "revision"):
            assert getattr(step.info, field) == getattr(other.steps[pos].info, field), (field, pos)


@pytest.mark.parametrize("sampling", [greedy(10), SAMPLED], ids=["greedy", "sampled"])
def test_unchanged_it_says_what_the_other_run_said_wherever_it_begins(sampling: Sampling) -> None:
    viewer = Hub().viewer()
    parent = finished_run(viewer, sampling=sampling)
    for from_pos in range(1, len(parent.tokens)):
        branch = fork_and_finish(viewer, parent, from_pos)
        assert branch.token_ids == parent.token_ids
        assert branch.text == parent.text
        assert [token.logprob for token in branch.tokens] == [token.logprob for token in parent.tokens]
        assert_same_steps(branch, parent)
        assert branch.branch is not None
        assert branch.branch.n_shared == from_pos - 1


def test_what_is_shared_is_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub()
    computed: list[int] = []
    forward = FakeSequence.forward

    def counted(sequence: FakeSequence, token_ids: Sequence[int], **rest: object) -> FakeCaptured:
        computed.append(len(token_ids))
        return forward(sequence, token_ids, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeSequence, "forward", counted)
    viewer = hub.viewer()
    parent = finished_run(viewer, sampling=greedy(10))
    n_computed = sum(computed)
    fork_and_finish(viewer, parent, parent.n_prompt_tokens + 6)
    assert sum(computed) - n_computed == 10 - 6, "the position before the branch, and those after it"


def test_with_the_cache_gone_all_is_computed_again_and_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "KEPT_CACHE_BYTES", 0)
    viewer = Hub().viewer()
    parent = finished_run(viewer, sampling=SAMPLED)
    branch = fork_and_finish(viewer, parent, parent.n_prompt_tokens + 3)
    assert branch.branch is not None
    assert branch.branch.n_shared == 0
    assert_same_steps(branch, parent)


@pytest.mark.parametrize("sampling", [greedy(10), SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("at", [-3, 0, 4])
def test_under_another_set_it_is_a_fresh_run_with_the_same_log(sampling: Sampling, at: int) -> None:
    viewer = Hub().viewer()
    parent = finished_run(viewer, sampling=sampling, intervention_log=[InterventionSegment(2, [NO_HEAD])])
    from_pos = parent.n_prompt_tokens + at
    branch = fork_and_finish(viewer, parent, from_pos, interventions=[NO_MLP])
    segments = [(entry.from_pos, entry.interventions) for entry in branch.intervention_log]
    assert segments == [(0, []), (2, [NO_HEAD]), (from_pos - 1, [NO_MLP])]
    fresh = finished_run(
        viewer, sampling=sampling, intervention_log=[InterventionSegment(pos, specs) for pos, specs in segments]
    )
    assert branch.token_ids == fresh.token_ids
    assert branch.token_ids[:from_pos] == parent.token_ids[:from_pos]
    assert_same_steps(branch, fresh)


def test_a_prompt_token_put_in_keeps_the_rest_of_the_prompt() -> None:
    viewer = Hub().viewer()
    parent = finished_run(viewer, prompt="one two three four", sampling=greedy(6))
    put = viewer.hub.engine.token_ids(" nine")[0]
    branch = fork_and_finish(viewer, parent, 1, token_text=" nine")
    kept = list(parent.token_ids[: parent.n_prompt_tokens])
    kept[1] = put
    assert branch.token_ids[: parent.n_prompt_tokens] == kept
    assert branch.n_prompt_tokens == parent.n_prompt_tokens
    fresh = finished_run(viewer, prompt=branch.prompt, sampling=greedy(6))
    assert branch.token_ids == fresh.token_ids
    assert_same_steps(branch, fresh)


def test_a_generated_token_put_in_drops_what_followed_it() -> None:
    viewer = Hub().viewer()
    parent = finished_run(viewer, prompt="one two three four", sampling=greedy(6))
    at = parent.n_prompt_tokens + 2
    put = viewer.hub.engine.token_ids(" nine")[0]
    branch = fork_and_finish(viewer, parent, at, token_text=" nine")
    assert branch.token_ids[: at + 1] == [*parent.token_ids[:at], put]
    assert len(branch.tokens) == len(parent.tokens)
    fresh = finished_run(viewer, prompt=parent.prompt + branch.text, sampling=greedy(1))
    assert fresh.token_ids[: len(branch.tokens)] == branch.token_ids
    for pos in range(len(branch.tokens) - 1):
        for name, values in branch.steps[pos].tensors.items():
            if name.startswith(("neurons", "heads", "attention", "residual")):
                np.testing.assert_array_equal(values, fresh.steps[pos].tensors[name], err_msg=f"{name} at {pos}")


def test_another_seed_draws_anew_from_there() -> None:
    viewer = Hub().viewer()
    parent = finished_run(viewer, sampling=SAMPLED)
    at = parent.n_prompt_tokens + 3
    seeds = [
        fork_and_finish(viewer, parent, at, sampling=Sampling(temperature=1.0, seed=seed, max_new_tokens=10))
        for seed in range(4)
    ]
    assert all(branch.token_ids[:at] == parent.token_ids[:at] for branch in seeds)
    assert len({tuple(branch.token_ids) for branch in seeds}) > 1


def test_a_longer_limit_goes_on_after_the_end() -> None:
    viewer = Hub().viewer()
    parent = finished_run(viewer, sampling=greedy(4))
    refused = fork(viewer, parent, len(parent.tokens))
    assert isinstance(refused, ErrorReport)
    assert (refused.code, "raise max_new_tokens" in refused.message) == ("nothing_to_generate", True)
    longer = fork_and_finish(viewer, parent, len(parent.tokens), sampling=greedy(9))
    assert longer.token_ids == finished_run(viewer, sampling=greedy(9)).token_ids


def test_of_a_run_that_goes_on_and_of_one_that_is_paused_in_the_prompt() -> None:
    hub = Hub()
    author, other = hub.viewer(), hub.viewer()
    author.start(sampling=greedy(12))
    hub.work(4)
    author.drain()
    assert author.run is not None
    n_then = len(author.run.tokens)
    branch = fork_and_finish(other, author.run, n_then - 1, interventions=[NO_HEAD])
    author.drain()
    assert author.run.finish_reason == "max_new_tokens", "the run goes on for who watches it"
    assert len(author.run.tokens) == len(branch.tokens)
    author.start(sampling=greedy(3), start_paused=True)
    assert author.run is not None
    paused = author.run
    branch = fork_and_finish(other, paused, 2)
    assert branch.finish_reason == "max_new_tokens"
    assert paused.finish_reason is None


def test_a_branch_of_a_branch_and_its_later_sets() -> None:
    hub = Hub()
    viewer = hub.viewer()
    root = finished_run(viewer, sampling=greedy(10))
    first = fork_and_finish(viewer, root, root.n_prompt_tokens + 2, interventions=[NO_HEAD])
    fork(viewer, first, root.n_prompt_tokens + 5, start_paused=True)
    assert viewer.run is not None
    viewer.ask(SetInterventions(request_id=viewer.next_id(), run_id=viewer.run.run_id, interventions=[NO_MLP]))
    viewer.ask(Pause(request_id=viewer.next_id(), run_id=viewer.run.run_id))
    log = viewer.run.intervention_log
    assert [entry.revision for entry in log] == [0, 1, 2]
    assert log[-1].from_pos == root.n_prompt_tokens + 4
    assert viewer.run.branch is not None
    assert viewer.run.branch.run_id == first.run_id


def test_refused_with_the_limit_named(monkeypatch: pytest.MonkeyPatch) -> None:
    viewer = Hub(FakeEngine(n_layers=2, n_heads=2, d_mlp=16, n_ctx=64)).viewer()
    parent = finished_run(viewer, sampling=greedy(4))
    beyond = fork(viewer, parent, len(parent.tokens) + 1)
    assert isinstance(beyond, ErrorReport)
    assert (beyond.code, f"1 to {len(parent.tokens)}" in beyond.message) == ("position_out_of_range", True)
    unknown = viewer.ask(ForkRun(request_id=viewer.next_id(), run_id="no-such-run", from_pos=1))
    assert isinstance(unknown, ErrorReport)
    assert unknown.code == "run_unknown"
    wrong = InterventionSpec(intervention_id="x", operation="zero", components=[Component("head", 99, 0)])
    bad = fork(viewer, parent, 2, interventions=[wrong])
    assert isinstance(bad, ErrorReport)
    assert (bad.code, "layers 0 to 1" in bad.message) == ("bad_interventions", True)
    monkeypatch.setattr(viewer.hub.engine, "token_ids", lambda _: [])
    no_token = fork(viewer, parent, 2, token_text="\u200b")
    assert isinstance(no_token, ErrorReport)
    assert (no_token.code, "has no token" in no_token.message) == ("bad_token", True)
    assert viewer.run is not None and viewer.run.run_id == parent.run_id, "the run that was watched is still watched"


@pytest.mark.parametrize("kept_cache_bytes", [scheduler.KEPT_CACHE_BYTES, 0], ids=["shared", "computed-again"])
def test_a_branch_can_be_recorded_with_the_text_of_what_it_keeps(
    monkeypatch: pytest.MonkeyPatch, kept_cache_bytes: int
) -> None:
    """Its shared steps were never reported under its own name; a replay tells the text by what each step adds."""
    monkeypatch.setattr(scheduler, "KEPT_CACHE_BYTES", kept_cache_bytes)
    viewer = Hub().viewer()
    parent = finished_run(viewer, sampling=greedy(8))
    branch = fork_and_finish(viewer, parent, parent.n_prompt_tokens + 3, token_text=" nine")
    branch = fork_and_finish(viewer, branch, parent.n_prompt_tokens + 5, interventions=[NO_HEAD])
    recording = parse_recording(saved(viewer))
    assert recording.problems == []
    assert [step.pos for step in recording.steps] == sorted(branch.steps)
    assert "".join(step.info.text_delta for step in recording.steps) == branch.text == recording.text
    for step in recording.steps:
        for name, values in branch.steps[step.pos].tensors.items():
            np.testing.assert_array_equal(step.tensors[name], values, err_msg=f"{name} at {step.pos}")
    times = [step.info.server_ns for step in recording.steps[parent.n_prompt_tokens + 4 :]]
    assert times == sorted(times), "from the token before the newest branch on, each was made after the other"


def test_a_run_is_not_let_go_of_while_a_branch_of_it_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its steps are the branch's; a finished run that nobody watches could be over the budget in that very moment."""
    viewer = Hub().viewer()
    parent = finished_run(viewer, sampling=greedy(6))
    finished_run(viewer, sampling=greedy(2))
    monkeypatch.setattr(session, "MAX_FINISHED_RUNS", 0)
    session_of_all = viewer.hub.session
    request_id = viewer.next_id()
    fork_run = ForkRun(request_id=request_id, run_id=parent.run_id, from_pos=parent.n_prompt_tokens + 3)
    session_of_all.receive(viewer.viewer_id, encode_command(fork_run), viewer.hub.now)
    session_of_all.tick(viewer.hub.now)
    branch = finish(viewer)
    assert set(branch.steps) == set(range(len(branch.tokens) - 1))
    session_of_all.tick(viewer.hub.now)
    assert parent.run_id not in session_of_all.records
