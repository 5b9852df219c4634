"""`livelens.view` on the fake engine: streaming, reaching in, questions, tables, and what goes wrong."""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest

from livelens.client import Client, ClientRun, LivelensError, ablate, connect
from livelens.library.background import BackgroundLoop
from livelens.library.live_view import LiveView
from livelens.library.progress import ProgressLine
from livelens.protocol.components import component_id
from livelens.protocol.messages import (
    AttentionEdit,
    Component,
    Event,
    InterventionSpec,
    RunShared,
    SelectionChanged,
)

PROMPT = "When Mary and John went to the store"


def test_steps_come_one_by_one_and_nothing_is_made_ahead(view: LiveView) -> None:
    generation = view.generate(PROMPT, max_new_tokens=8)
    n_prompt = generation.run.n_prompt_tokens
    seen = []
    for step in generation:
        seen.append(step.pos)
        if step.pos >= n_prompt:
            assert len(generation.run.tokens) == step.pos + 2  # the one read, and the one it chose
    assert seen == list(range(n_prompt + 7)) and generation.is_finished
    assert view.array("neurons").shape == (len(seen), 3, 24) and view.array("heads").shape == (len(seen), 3, 2)
    assert [step.pos for step in view.steps] == seen
    again = view.generate(PROMPT, max_new_tokens=8).finish()
    assert again.text == generation.text
    assert list(again) == view.steps  # all at once, when it is finished


def test_a_step_that_comes_late_makes_no_token_ahead(view: LiveView, monkeypatch: pytest.MonkeyPatch) -> None:
    """A viewer that always lags gets every step first without its arrays: the loop waits for these."""
    monkeypatch.setattr("livelens.session.outbox.LAG_ENTRIES", 0)
    monkeypatch.setattr("livelens.session.outbox.LAG_SECS", -1)
    generation = view.generate(PROMPT, max_new_tokens=8)
    n_prompt = generation.run.n_prompt_tokens
    for step in generation:
        assert len(generation.run.tokens) <= max(n_prompt + 1, step.pos + 2)
        if step.pos == n_prompt + 2:
            view.ablate("L1.mlp")
    assert generation.run.intervention_log[-1].from_pos == n_prompt + 3


def test_an_ablation_holds_from_the_very_next_token_until_it_is_restored(view: LiveView) -> None:
    clean = view.generate(PROMPT, max_new_tokens=12).finish().run.token_ids
    generation = view.generate(PROMPT, max_new_tokens=12)
    at = generation.run.n_prompt_tokens + 3
    for step in generation:
        if step.pos == at:
            view.ablate("L0H0", "L1.mlp", "L2.mlp")
    run = generation.run
    assert run.intervention_log[-1].from_pos == at + 1
    assert run.token_ids[: at + 2] == clean[: at + 2] and run.token_ids != clean
    off = view.array("heads")[:, 0, 0]
    assert np.all(off[at + 1 :] == 0) and np.all(off[: at + 1] != 0)
    assert view.ablated == ["L0H0", "L1.mlp", "L2.mlp"]

    whole = view.generate(PROMPT, max_new_tokens=12).finish()  # they stand: now from the first position
    assert np.all(view.array("heads")[:, 0, 0] == 0) and whole.run.token_ids != clean
    view.restore("L0H0")
    assert view.ablated == ["L1.mlp", "L2.mlp"]
    view.restore()
    assert view.generate(PROMPT, max_new_tokens=12).finish().run.token_ids == clean


def test_values_are_float32_by_component_and_position(view: LiveView) -> None:
    generation = view.generate(PROMPT, max_new_tokens=4).finish()
    values = view.values("L1N3", "L0H1")
    assert values.exact and values.values.dtype == np.float32
    assert values.values.shape == (2, len(generation.run.tokens))
    assert np.isfinite(values.values[:, :-1]).all() and np.isnan(values.values[:, -1]).all()  # the last was never read


def test_what_goes_wrong_is_said(view: LiveView) -> None:
    with pytest.raises(LivelensError, match=r"view\.generate"):
        _ = view.steps
    with pytest.raises(ValueError, match="L1X3"):
        view.ablate("L1X3")
    generation = view.generate(PROMPT, max_new_tokens=50)
    next(iter(generation))
    view.generate(PROMPT, max_new_tokens=2).finish()  # the one before is stopped
    assert generation.run.run_id != view.newest_run().run_id
    view.close()
    view.close()
    with pytest.raises(LivelensError, match="this view is closed"):
        view.generate(PROMPT)


def test_what_a_page_does_is_seen_in_the_view_and_the_other_way_round(view: LiveView) -> None:
    """A page in a frame is one more viewer that gives the view's key."""
    loop = view.background()
    page, events = connect(view.url), list[Event]()
    page.on_event(events.append)

    async def enters() -> None:
        await page.__aenter__()
        await page.share_view(view.share_key)

    def page_sees(condition: Callable[[], bool]) -> None:
        loop.run(_until(condition))

    loop.run(enters())
    generation = view.generate(PROMPT, max_new_tokens=30)
    page_sees(lambda: any(isinstance(event, RunShared) for event in events))
    joined = loop.run(page.join_run(generation.run.run_id, channels=["heads"], follows=True))
    view.select("L1H1", pos=3)
    page_sees(lambda: any(isinstance(event, SelectionChanged) and event.pos == 3 for event in events))
    told: list[str] = []
    view.on_selection(lambda selection: told.append(str(selection)))
    loop.run(page.set_selection("L2N5"))
    page_sees(lambda: view.selection.name == "L2N5")
    assert told == ["L2N5"]

    view.ablate("L0H0")
    page_sees(lambda: names_of(joined) == ["L0H0"])
    loop.run(page.set_interventions(joined, [ablate("L1H0", "L2H1"), ablate("L0.mlp", amount=2.0)]))
    page_sees(lambda: view.ablated == ["L1H0", "L2H1", "L0.mlp"])
    view.restore("L1H0")
    page_sees(lambda: names_of(joined) == ["L2H1", "L0.mlp"])

    own = loop.run(page.start_run("Once upon a time", max_new_tokens=4, start_paused=True))
    loop.run(_until(lambda: view.generation is not None and view.generation.run.run_id == own.run_id))
    assert view.ablated == [] and view.generation is not None
    with pytest.raises(LivelensError, match=r"view\.generation is the newest"):
        generation.finish()
    assert view.generation.finish().run.prompt == "Once upon a time" and len(view.steps) == len(own.tokens) - 1
    loop.run(page.__aexit__(None, None, None))


def names_of(run: ClientRun) -> list[str]:
    """Of every component in the newest set of the run."""
    return [component_id(item) for spec in run.intervention_log[-1].interventions for item in spec.components]


async def _until(condition: Callable[[], bool]) -> None:
    """On the loop of both clients: as soon as what is on its way has come."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - what changes is another client's
            await asyncio.sleep(0.001)


def test_the_set_that_stands(view: LiveView) -> None:
    """By component, whatever intervention it stands in; other operations stay; a set that does not fit changes none."""
    knockout = InterventionSpec(
        intervention_id="L0H0", operation="attention_knockout", attention=AttentionEdit(keys=[0]),
        components=[Component(kind="head", layer=0, index=1)],
    )  # fmt: skip
    view.intervene(knockout, ablate("L1H0", "L1H1"))
    view.ablate("L0H0", "L1H1", amount=0.5)
    assert view.ablated == ["L1H0", "L0H0", "L1H1"]
    ids = [spec.intervention_id for spec in view.interventions]
    assert len(set(ids)) == 4 and view.interventions[0] == knockout
    with pytest.raises(ValueError, match="layers 0 to 2"):
        view.ablate("L9H0")
    assert [spec.intervention_id for spec in view.interventions] == ids
    view.restore("L0H0", "L1H0", "L1H1")
    assert view.interventions == [knockout]
    run = view.generate(PROMPT, max_new_tokens=4).finish().run
    assert run.intervention_log[0].interventions == [knockout]
    view.restore()
    assert view.interventions == []


def test_a_branch_is_the_newest_run(view: LiveView) -> None:
    first = view.generate(PROMPT, max_new_tokens=8).finish().run
    at = first.n_prompt_tokens + 2
    branch = view.fork(at, token_text=" Mary").finish().run
    assert branch.token_ids[:at] == first.token_ids[:at] and branch.tokens[at].text == " Mary"
    assert len(view.steps) == len(branch.tokens) - 1


def test_questions_are_the_clients_own_about_the_newest_run(view: LiveView) -> None:
    view.generate(PROMPT, max_new_tokens=4).finish()
    lens = view.lens(pos=3, n_tokens=2)
    assert lens.entropy.shape == (3,) and len(lens.top[0]) == 2
    assert next(iter(inspect.signature(view.lens).parameters)) == "pos" and "logit lens" in (view.lens.__doc__ or "")
    with pytest.raises(LivelensError, match="analysis_unavailable"):
        view.attribution(pos=3)
    assert view.attention_row(layer=1, head_index=0, query_pos=4).row.shape == (5,)


def test_everything_that_the_client_can_do_a_view_can_do() -> None:
    """By its own name, unless a command of the view is made of it."""
    made_of_it = {
        "start_run": "generate", "fork_run": "fork", "join_run": "generation", "subscribe": "generate",
        "set_interventions": "intervene", "pause": "generate", "resume": "generate", "step_once": "generate",
        "stop": "generate", "request_values": "values", "request_attention": "attention_row",
        "request_positions": "steps", "set_selection": "select", "share_view": "show", "ping": "model_info",
    }  # fmt: skip
    commands = {
        name for name, member in inspect.getmembers(Client, inspect.iscoroutinefunction) if not name.startswith("_")
    }
    missing = {name for name in commands if not hasattr(LiveView, made_of_it.get(name, name))}
    assert len(commands) > 30 and missing == set()
    assert set(made_of_it) <= commands


def test_tables(view: LiveView) -> None:
    run = view.generate(PROMPT, max_new_tokens=4).finish().run
    tokens = view.to_pandas()
    assert list(tokens.index) == list(range(len(run.tokens) - 1)) and tokens.loc[3, "text"] == run.tokens[3].text
    heads, neurons, norms = view.to_pandas("heads"), view.to_pandas("neurons"), view.to_pandas("residual")
    assert heads.loc["L2H1", 5] == view.steps[5].heads[2, 1] and heads.shape == (6, len(tokens))
    assert neurons.loc["L1N7", 2] == view.steps[2].neurons[1, 7] and norms.loc[3, 4] == view.steps[4].residual[3]
    exact = view.to_pandas(view.values("L1N7", "L2H1"))
    np.testing.assert_allclose(exact.loc["L2H1"].to_numpy()[:-1], heads.loc["L2H1"].to_numpy(), rtol=1e-3)


def test_without_pandas_the_extra_is_named(view: LiveView, monkeypatch: pytest.MonkeyPatch) -> None:
    view.generate(PROMPT, max_new_tokens=1).finish()
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(LivelensError, match=r'pip install "livelens\[notebook\]"'):
        view.to_pandas()


def test_progress_is_one_line_written_over_and_short_work_writes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    class Line:
        said: ClassVar[list[str]] = []

        def write(self, text: str) -> None:
            self.said.append(text)

        def end(self, text: str) -> None:
            self.said.append("last: " + text)

    clock = [0.0]
    monkeypatch.setattr("livelens.library.progress.time.monotonic", lambda: clock[0])
    background = BackgroundLoop()
    with ProgressLine(background, "paths", Line) as line:
        for done in range(100):
            clock[0] = done * 0.01
            line(done, 100)
    with ProgressLine(background, "short", Line) as line:
        line(1, 1)
    background.run(asyncio.sleep(0))
    assert Line.said == ["paths: 50 of 100", "paths: 75 of 100", "last: paths: 99 of 100 in 1.0 s"]
    background.close()


def test_without_a_notebook_show_says_where_the_page_is(view: LiveView, capsys: pytest.CaptureFixture[str]) -> None:
    view.show()
    said = capsys.readouterr().out
    assert view.url in said and "Nothing interactive can be shown here" in said
    assert view.jupyter_address is None
