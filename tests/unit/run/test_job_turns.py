"""Who waits when more sets come than there is time for."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Literal

import pytest
from tests.unit.run.driving import PROMPT, zero

from livelens.model.fake import FakeEngine
from livelens.model.fake.captured import FakeCaptured
from livelens.model.fake.sequence import FakeSequence
from livelens.protocol.messages import Channel, InterventionSegment, RunFinished, Sampling, TwinMode
from livelens.run.job_turns import MOST_CREDIT_SECS, MOST_DEBT_SECS, SETS_SHARE, TWINS_SHARE, JobTurns
from livelens.run.jobs import ControlJob, InterveneJob, Job, Refused, Report, StartJob, Tag, TwinJob, TwinSet
from livelens.run.worker import Worker

MODES: tuple[TwinMode, ...] = ("teacher_forced", "off", "free_running")


def change(number: int, viewer: str = "flood", *, mode: Literal["from_now", "recompute"] = "from_now") -> InterveneJob:
    spec = zero(("head", 0, 0), name=str(number))
    tag = Tag(viewer, number)
    return InterveneJob(run_id="run", tag=tag, interventions=[spec], mode=mode, recompute_from=0, restart=False)


def control(action: Literal["pause", "resume", "step_once"], viewer: str = "flood") -> ControlJob:
    return ControlJob(run_id="run", tag=Tag(viewer, 0), action=action)


def switch(number: int, mode: TwinMode = "off", viewer: str = "flood", *, run_id: str = "run") -> TwinJob:
    return TwinJob(run_id=run_id, tag=Tag(viewer, number), mode=mode)


def in_debt() -> JobTurns:
    turns = JobTurns()
    first = change(0)
    turns.put(first)
    assert turns.take() == [first]
    turns.took([first], 1.2 * MOST_CREDIT_SECS)
    return turns


def taken(turns: JobTurns) -> list[list[Job]]:
    jobs = []
    while turns.has_ready:
        jobs.append(turns.take())
    return jobs


def test_jobs_that_cost_little_are_taken_at_once_in_each_viewers_order() -> None:
    turns = JobTurns()
    jobs: list[Job] = [change(1), control("resume"), change(2, "other"), control("step_once")]
    for job in jobs:
        turns.put(job)
    out = taken(turns)
    assert sorted(out, key=lambda one: jobs.index(one[0])) == [[job] for job in jobs]
    assert [one for one in out if one[0] is not jobs[2]] == [[jobs[0]], [jobs[1]], [jobs[3]]], "a viewer's own order"


def test_sets_that_came_together_are_in_debt_with_the_first_that_costs_too_much() -> None:
    turns = JobTurns()
    sets = [change(number) for number in (1, 2, 3)]
    for one in sets:
        turns.put(one)
    first = turns.take()
    turns.took(first, 2 * MOST_CREDIT_SECS)
    assert first == [sets[0]] and not turns.has_ready
    turns.idle()
    assert taken(turns) == [[sets[1], sets[2]]]


def test_sets_wait_until_tokens_have_had_their_time_and_the_newest_of_a_viewer_counts() -> None:
    turns = in_debt()
    sets = [change(number) for number in (1, 2, 3)]
    for one in sets:
        turns.put(one)
    assert taken(turns) == [] and turns.has_waiting
    turns.worked(0.15 * MOST_CREDIT_SECS / SETS_SHARE)
    assert not turns.has_ready, "the debt is not paid yet"
    turns.worked(0.1 * MOST_CREDIT_SECS / SETS_SHARE)
    assert taken(turns) == [sets] and not turns.has_waiting


def test_a_viewer_waits_for_its_own_sets_and_nobody_else_does() -> None:
    turns = in_debt()
    step, pause, other = control("step_once"), control("pause"), control("step_once", "other")
    before, after = change(1), change(2)
    for job in (before, step, after, other, pause):
        turns.put(job)
    assert taken(turns) == [[other], [pause]], "a pause is not kept waiting by anything"
    turns.idle()
    assert taken(turns) == [[before], [step], [after]], "what lies between two sets keeps them apart"


def test_the_next_viewer_has_the_next_turn_and_a_recompute_is_never_left_out() -> None:
    turns = in_debt()
    again = [change(number, mode="recompute") for number in (1, 2)]
    for job in (*again, change(3, "other")):
        turns.put(job)
    turns.idle()
    assert [[job.tag.viewer_id for job in jobs if isinstance(job, InterveneJob)] for jobs in taken(turns)] == [
        ["flood"],
        ["other"],
        ["flood"],
    ]


def test_switches_of_the_twin_wait_until_tokens_have_had_their_time_and_the_newest_counts() -> None:
    turns = JobTurns()
    first, *others = [switch(number, mode) for number, mode in enumerate(MODES)]
    turns.put(first)
    assert taken(turns) == [[first]], "a lone one is carried out at once"
    turns.brought_up(10.0)
    for job in others:
        turns.put(job)
    assert not turns.has_ready and turns.has_waiting
    turns.worked(1.1 * MOST_DEBT_SECS / TWINS_SHARE)
    assert taken(turns) == [others]


def test_what_twins_cost_keeps_no_set_waiting_nor_the_other_way_round() -> None:
    turns = JobTurns()
    turns.brought_up(10.0)
    late, one, other = switch(1), change(2, "other"), switch(3, run_id="another")
    for job in (late, one, other):
        turns.put(job)
    assert taken(turns) == [[one]]
    turns.idle()
    assert taken(turns) == [[late], [other]], "of two runs, neither replaces the other"
    turns = in_debt()
    turns.put(late)
    assert taken(turns) == [[late]]


def test_a_viewer_that_switches_the_twin_on_and_off_all_the_time_leaves_the_run_its_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each switching on has the run's whole past computed once more: unbounded, no token would ever be made."""
    past_secs = 0.0
    forward = FakeSequence.forward

    def timed(self: FakeSequence, ids: Sequence[int], *, masks: object, channels: frozenset[Channel]) -> FakeCaptured:
        nonlocal past_secs
        began = time.thread_time()  # what others of the machine take of it meanwhile is no work
        captured = forward(self, ids, masks=masks, channels=channels)  # type: ignore[arg-type]
        if not channels and masks is None:
            past_secs += time.thread_time() - began
        return captured

    monkeypatch.setattr(FakeSequence, "forward", timed)
    ended, answered = threading.Event(), set[int]()

    def on_report(report: Report) -> None:
        if isinstance(report, RunFinished):
            ended.set()
        elif isinstance(report, TwinSet | Refused) and report.tag is not None:
            answered.add(report.tag.request_id)

    engine = FakeEngine(n_layers=3, n_heads=2, d_mlp=24, n_ctx=1024, tokens_per_second=300)
    worker = Worker(engine, on_report=on_report)
    log = [InterventionSegment(from_pos=0, interventions=[zero(("head", 0, 0))])]
    worker.submit(
        StartJob(
            run_id="run", tag=Tag("flood", 0), prompt=PROMPT + " nine" * 116, apply_chat_template=False,
            sampling=Sampling(max_new_tokens=300, stop_at_eos=False), start_paused=False, intervention_log=log,
            target_token=None, distractor_token=None, channels=frozenset(("heads",)),
        )
    )  # fmt: skip
    began, n_sent = time.perf_counter(), 0
    while not ended.wait(0.002) and time.perf_counter() - began < 200:
        n_sent += 1
        worker.submit(switch(n_sent, "teacher_forced" if n_sent % 2 else "off"))
    secs = time.perf_counter() - began
    worker.close()
    assert ended.is_set(), "the run never came to its end"
    assert 0 < past_secs < MOST_CREDIT_SECS + MOST_DEBT_SECS + TWINS_SHARE * secs
    assert len(answered) > n_sent / 2, "each is answered, but those that the run's end found waiting"
