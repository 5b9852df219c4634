"""What is done between two tokens."""

from __future__ import annotations

from tests.unit.run.driving import ALL, TAG, small_engine

from livelens.model.engine import StepArrays
from livelens.protocol.messages import Sampling, Step
from livelens.run.jobs import LensJob, StartJob
from livelens.run.scheduler import Scheduler
from livelens.run.steps import FinishStep


def test_the_lens_of_a_token_looked_at_comes_while_the_run_goes_on() -> None:
    steps: list[tuple[Step, StepArrays]] = []

    def keep(finish: FinishStep) -> None:
        steps.append(finish())

    scheduler = Scheduler(small_engine(), emit=lambda _: None, emit_step=keep)
    scheduler.handle(
        StartJob(
            run_id="run",
            tag=TAG,
            prompt="one two three",
            apply_chat_template=False,
            sampling=Sampling(max_new_tokens=40, stop_at_eos=False),
            start_paused=False,
            intervention_log=[],
            target_token=None,
            distractor_token=None,
            channels=ALL,  # type: ignore[arg-type]
        )
    )
    for _ in range(8):
        scheduler.work()
    assert all(exact.lens is None for step, exact in steps if not step.generated), "prompt lenses wait for idle time"
    scheduler.handle(LensJob(run_id="run", positions=[0]))
    n_generated = sum(step.generated for step, _ in steps)
    scheduler.work()
    assert sum(step.generated for step, _ in steps) == n_generated + 1
    late = [exact for step, exact in steps if step.pos == 0]
    assert late[-1].lens is not None
