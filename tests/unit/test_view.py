"""`livelens.view` on the fake engine: streaming, reaching in, and what goes wrong."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

import livelens
from livelens.client import LivelensError
from livelens.library.background import BackgroundLoop
from livelens.library.live_view import LiveView

PROMPT = "When Mary and John went to the store"


@pytest.fixture
def view() -> Iterator[LiveView]:
    with livelens.view("fake:3x2x24") as opened:
        yield opened


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
    assert generation.run.run_id != view._newest_run().run_id
    view.close()
    view.close()
    with pytest.raises(LivelensError, match="this view is closed"):
        view.generate(PROMPT)


def test_closing_leaves_no_thread_behind() -> None:
    before = {thread.name for thread in threading.enumerate()}
    with livelens.view("fake:3x2x24") as view:
        view.generate(PROMPT, max_new_tokens=100_00, channels=["heads"])
        assert "livelens-view" in {thread.name for thread in threading.enumerate()}
    after = {thread.name for thread in threading.enumerate() if thread.is_alive()}
    assert after - before <= {"livelens-encoder_0"}  # ends by itself, when nobody needs it


def test_an_interrupted_wait_cancels_what_was_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio
    from concurrent.futures import Future

    loop, cancelled = BackgroundLoop(), threading.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    def interrupted(_: Future[None]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Future, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        loop.run(forever())
    monkeypatch.undo()
    assert loop.run(asyncio.sleep(0, True))
    loop.close()
    assert not loop._thread.is_alive()
