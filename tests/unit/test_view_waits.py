"""`livelens.view` while it waits: Ctrl-C, callbacks on the thread of the cell, commands that are awaited, threads."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable

import pytest
from tests.integration.gate import Gate

import livelens
from livelens.client import ClientRun, StepData
from livelens.library.background import BackgroundLoop
from livelens.library.live_view import LiveView

PROMPT = "When Mary and John went to the store"


def test_closing_leaves_no_thread_behind() -> None:
    before = {thread.name for thread in threading.enumerate()}
    with livelens.view("fake:3x2x24") as view:
        view.generate(PROMPT, max_new_tokens=100_00, channels=["heads"])
        assert "livelens-view" in {thread.name for thread in threading.enumerate()}
    after = {thread.name for thread in threading.enumerate() if thread.is_alive()}
    assert after - before <= {"livelens-encoder_0"}  # ends by itself, when nobody needs it


def interrupted_while(waits: Callable[[], object], when: Callable[[], bool]) -> None:
    """Ctrl-C in this thread as soon as `when` is true, which is while `waits` waits."""
    over = threading.Event()

    def interrupt() -> None:
        while not over.wait(0.002):
            if when():
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
                return

    watching = threading.Thread(target=interrupt)
    # A shell that starts tests in the background has them ignore Ctrl-C.
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    watching.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            waits()
    finally:
        over.set()
        watching.join()
        signal.signal(signal.SIGINT, usual)


def test_an_interrupted_wait_cancels_what_was_waited_for() -> None:
    loop, begun, cancelled = BackgroundLoop(), threading.Event(), threading.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    interrupted_while(lambda: loop.run(forever()), begun.is_set)
    assert cancelled.wait(5)
    assert loop.run(asyncio.sleep(0, True))
    loop.close()
    assert not loop._thread.is_alive()


def test_steps_and_selections_are_called_back_on_the_thread_of_the_cell(view: LiveView) -> None:
    told: list[tuple[int, int]] = []
    end = view.on_step(lambda step: told.append((threading.get_ident(), step.pos)))
    generation = view.generate(PROMPT, max_new_tokens=6)
    seen = []
    for step in generation:
        seen.append(step.pos)
        assert step.pos in {pos for _, pos in told}  # told before the loop's body
    assert sorted(pos for _, pos in told) == seen and {thread for thread, _ in told} == {threading.get_ident()}
    end()
    end()
    view.generate(PROMPT, max_new_tokens=2).finish()
    assert len(told) == len(seen)

    selections: list[str] = []
    view.on_selection(lambda selection: selections.append(str(selection)))
    view.select("L1H1")
    view.select("L1H1")
    view.select("L2N3", pos=4)
    view.select(None)
    assert selections == ["L1H1", "L2N3@4", "nothing"] and view.selection.name is None
    with pytest.raises(ValueError, match="heads 0 to 1"):
        view.select("L1H2")


def test_what_a_callback_raises_is_raised_in_the_cell_and_the_view_stays_usable(view: LiveView) -> None:
    def fails(step: StepData) -> None:
        if step.pos == 12:
            raise RuntimeError("the widget is gone")

    end = view.on_step(fails)
    generation = view.generate(PROMPT, max_new_tokens=12)
    with pytest.raises(RuntimeError, match="the widget is gone"):
        generation.finish()
    end()
    assert generation.finish().is_finished


def test_a_callback_may_ask_the_view(view: LiveView) -> None:
    def ablates(step: StepData) -> None:
        if step.pos == 12:
            view.ablate("L0H0")

    view.on_step(ablates)
    generation = view.generate(PROMPT, max_new_tokens=12)
    for _ in generation:
        pass
    assert generation.run.intervention_log[-1].interventions[0].intervention_id == "L0H0"


async def until_paused(run: ClientRun, gate: Gate) -> None:
    """The pause is on its way to a run that is held, and comes with a token."""
    while run.state != "paused":
        gate.let(1)
        await asyncio.sleep(0.01)


def test_ctrl_c_in_mid_generation_pauses_the_run_and_it_goes_on(
    view: LiveView, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(monkeypatch)
    generation = view.generate(PROMPT, max_new_tokens=400)
    run = generation.run
    gate.hold_at(run.n_prompt_tokens + 5)
    interrupted_while(generation.finish, lambda: len(run.tokens) > run.n_prompt_tokens + 3)
    view.background().run(until_paused(run, gate))
    n_tokens = len(run.tokens)
    assert n_tokens < run.n_prompt_tokens + 400 and not generation.is_finished
    view.ablate("L0H0")
    gate.let()
    assert generation.finish().is_finished and len(run.tokens) > n_tokens
    whole = view.generate(PROMPT, max_new_tokens=30)
    gate.hold_at(whole.run.n_prompt_tokens + 5)
    steps = iter(whole)
    next(steps)
    interrupted_while(lambda: list(steps), lambda: len(whole.run.tokens) > whole.run.n_prompt_tokens + 3)
    gate.let()
    assert whole.finish().is_finished


async def test_awaited_the_loop_goes_on_meanwhile_and_cancelling_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = Gate(monkeypatch)
    view = await asyncio.to_thread(livelens.view, "fake:3x2x24")
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(0)

    beating = asyncio.create_task(beat())
    generation = await view.generate.aio(PROMPT, max_new_tokens=8)
    seen = [step.pos async for step in generation]
    assert seen == list(range(generation.run.n_prompt_tokens + 7)) and beats > len(seen)
    values = await view.values.aio("L1N3")
    assert values.values.shape[1] == len(seen) + 1
    endless = await view.generate.aio(PROMPT, max_new_tokens=400)
    gate.hold_at(endless.run.n_prompt_tokens + 5)
    finishing = asyncio.ensure_future(endless.finish.aio())
    await view.background().awaited(endless.run.until(lambda run: len(run.tokens) > run.n_prompt_tokens + 3))
    finishing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await finishing
    await view.background().awaited(until_paused(endless.run, gate))
    beating.cancel()
    await asyncio.to_thread(view.close)
