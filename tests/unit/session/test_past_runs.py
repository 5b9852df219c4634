"""Where a neuron was loud in runs before: in those that a question names by their keys, and in no others."""

from __future__ import annotations

import pytest
from tests.unit.run.asking import AskableEngine
from tests.unit.session.hub import Hub, SimViewer, greedy

from livelens.client.run import ClientRun
from livelens.protocol.messages import (
    NeuronProfileReady,
    RequestNeuronProfile,
    RunStarted,
    SetInterventions,
)
from livelens.run.past_contexts import N_CONTEXTS
from livelens.session import session

LAYER, NEURON = 1, 11
PROMPTS = ("one two three four", "five six seven eight nine")


def hub_of_one_model() -> Hub:
    return Hub(AskableEngine(n_layers=2, n_heads=2, d_mlp=16, n_ctx=64))


def ran(viewer: SimViewer, prompt: str) -> ClientRun:
    """A finished run, as its viewer rebuilt it."""
    started = viewer.start(prompt, sampling=greedy())
    assert isinstance(started, RunStarted)
    viewer.hub.work_all()
    viewer.drain()
    assert viewer.run is not None
    return viewer.run


def profile(viewer: SimViewer, run_id: str, past_run_ids: list[str]) -> NeuronProfileReady:
    question = RequestNeuronProfile(
        request_id=viewer.next_id(), run_id=run_id, layer=LAYER, neuron_index=NEURON, past_run_ids=past_run_ids
    )
    viewer.send(question)
    viewer.hub.work_all()
    viewer.drain()
    answer = viewer.answers[question.request_id]
    assert isinstance(answer, NeuronProfileReady), answer
    return answer


def loudest(runs: list[ClientRun]) -> list[tuple[str, int, float]]:
    """(run, position, value) by what the viewer rebuilt from the wire, each text once."""
    every = [(run, pos, float(step.neurons[LAYER, NEURON])) for run in runs for pos, step in sorted(run.steps.items())]
    found, seen = [], set()
    for run, pos, value in sorted(every, key=lambda entry: -abs(entry[2])):
        words = tuple(token.token_id for token in run.tokens[max(0, pos - 12) : pos + 1])
        if words not in seen:
            seen.add(words)
            found.append((run.run_id, pos, value))
    return found[:N_CONTEXTS]


def test_the_loudest_tokens_of_named_runs_are_told_with_their_text() -> None:
    """Against what their viewer had on its screen; a text that was run twice is told once."""
    viewer = hub_of_one_model().viewer()
    runs = [ran(viewer, PROMPTS[0]), ran(viewer, PROMPTS[1]), ran(viewer, PROMPTS[0])]
    here = ran(viewer, "ten")
    answer = profile(viewer, here.run_id, [run.run_id for run in runs])
    assert [(c.run_id, c.pos, c.value) for c in answer.past_contexts] == loudest(runs)
    assert (answer.n_past_runs, answer.n_past_tokens) == (3, sum(len(run.steps) for run in runs))
    by_id = {run.run_id: run for run in runs}
    for context in answer.past_contexts:
        tokens = by_id[context.run_id or ""].tokens
        assert context.text == tokens[context.pos].text
        assert context.before == "".join(token.text for token in tokens[max(0, context.pos - 12) : context.pos])


def test_nobody_is_told_of_a_run_whose_key_they_do_not_have() -> None:
    """Nothing is said of runs that were not named; a guess, the run itself and a forgotten run count as none."""
    hub = hub_of_one_model()
    secret = ran(hub.viewer(), PROMPTS[0])
    other = hub.viewer()
    here = ran(other, PROMPTS[1])
    assert profile(other, here.run_id, []).past_contexts == []
    guessed = profile(other, here.run_id, ["guess", here.run_id, secret.run_id[:-1]])
    assert (guessed.past_contexts, guessed.n_past_runs, guessed.n_past_tokens) == ([], 0, 0)
    del hub.session.records[secret.run_id]
    assert profile(other, here.run_id, [secret.run_id]).n_past_runs == 0


def test_what_was_rewound_is_no_longer_seen() -> None:
    """A past run under a recompute counts with what it has now, once."""
    hub = hub_of_one_model()
    viewer, other = hub.viewer(), hub.viewer()
    started = viewer.start(PROMPTS[0], sampling=greedy(40))
    assert isinstance(started, RunStarted)
    hub.work(12)
    viewer.send(
        SetInterventions(
            request_id=viewer.next_id(),
            run_id=started.run.run_id,
            interventions=[],
            mode="recompute",
            recompute_from=3,
            restart=True,
        )
    )
    hub.work(1)
    n_now = len(hub.session.records[started.run.run_id].latest)
    here = ran(other, PROMPTS[1])
    viewer.drain()
    past = profile(other, here.run_id, [started.run.run_id])
    assert past.n_past_tokens >= n_now
    assert max(context.pos for context in past.past_contexts) < len(hub.session.records[started.run.run_id].tokens)
    assert len({context.pos for context in past.past_contexts}) == len(past.past_contexts)


def test_a_run_loses_its_exact_values_before_it_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the budget; what is watched keeps them; over it still, the run goes."""
    hub = hub_of_one_model()
    viewer = hub.viewer()
    first, second = ran(viewer, PROMPTS[0]), ran(viewer, PROMPTS[1])
    idle, watched = (hub.session.records[run.run_id].history for run in (first, second))
    whole = idle.n_bytes + watched.n_bytes
    assert idle.exact(0) is not None
    monkeypatch.setattr(session, "FINISHED_BUDGET_BYTES", whole - 1)
    hub.wait(1)
    assert idle.exact(0) is None and idle.quantised(0) is not None and watched.exact(0) is not None
    answer = profile(viewer, second.run_id, [first.run_id])
    assert [(c.run_id, c.pos, c.value) for c in answer.past_contexts] == loudest([first])
    monkeypatch.setattr(session, "FINISHED_BUDGET_BYTES", 1)
    hub.wait(1)
    assert first.run_id not in hub.session.records and watched.exact(0) is not None
