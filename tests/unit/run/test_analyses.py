"""Questions take their turns between tokens, end in one last word each, and disturb nothing."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from tests.unit.run.asking import REFUSAL, AskableEngine

from livelens.model.engine import AnalysisContext, EngineError
from livelens.protocol.messages import (
    AnalysisProgress,
    Answer,
    Component,
    ErrorReport,
    HeadScoresReady,
    InterventionSpec,
    MetricQuestion,
    Question,
    RelevanceReady,
    RequestHeadProfile,
    RequestHeadScores,
    RequestOverview,
    RequestPaths,
    RequestRelevance,
    RunFinished,
    Sampling,
)
from livelens.run.jobs import (
    AnalysisJob,
    Answered,
    CancelJob,
    ControlJob,
    ForgetJob,
    InterveneJob,
    Report,
    StartJob,
    Tag,
)
from livelens.run.scheduler import TOKENS_PER_TURN, Scheduler

PROMPT = "When Mary and John went to the store"


class Desk:
    """A scheduler with one run, and what it reported."""

    def __init__(self, *, start_paused: bool = True, max_new_tokens: int = 40, n_pieces: int = 3) -> None:
        self.engine = AskableEngine(n_layers=2, n_heads=2, d_mlp=16, n_ctx=128, n_pieces=n_pieces)
        self.reports: list[Report] = []
        self.n_steps = 0
        self.scheduler = Scheduler(self.engine, emit=self.reports.append, emit_step=self._step)
        self.scheduler.turn_secs = 0.0
        self.start("run", start_paused=start_paused, max_new_tokens=max_new_tokens)

    def _step(self, finish: object) -> None:
        self.n_steps += 1

    def start(self, run_id: str, *, start_paused: bool, max_new_tokens: int) -> None:
        self.scheduler.handle(
            StartJob(
                run_id=run_id,
                tag=Tag("viewer", 1),
                prompt=PROMPT,
                apply_chat_template=False,
                sampling=Sampling(max_new_tokens=max_new_tokens, stop_at_eos=False),
                start_paused=start_paused,
                intervention_log=[],
                target_token=None,
                distractor_token=None,
                channels=frozenset(),
            )
        )

    def ask(self, question: Question, viewer_id: str = "viewer") -> None:
        tag = Tag(viewer_id, question.request_id)
        self.scheduler.handle(AnalysisJob(run_id=question.run_id, tag=tag, question=question))

    def work(self, n: int = 1) -> None:
        for _ in range(n):
            self.scheduler.work()

    def work_all(self) -> None:
        while self.scheduler.has_work:
            self.scheduler.work()

    def said(self, request_id: int) -> list[Answer | ErrorReport]:
        return [it.answer for it in self.reports if isinstance(it, Answered) and it.tag.request_id == request_id]

    def last_word(self, request_id: int) -> Answer | ErrorReport:
        """After any progress, and nothing follows it."""
        *progress, last = self.said(request_id)
        assert all(isinstance(it, AnalysisProgress) for it in progress)
        assert not isinstance(last, AnalysisProgress)
        return last

    def code(self, request_id: int) -> str:
        last = self.last_word(request_id)
        assert isinstance(last, ErrorReport) and last.request_id == request_id
        return last.code


def relevance(request_id: int, pos: int = 2, run_id: str = "run") -> RequestRelevance:
    return RequestRelevance(request_id=request_id, run_id=run_id, metric=MetricQuestion(pos=pos))


def overview(request_id: int, pos: int = 2) -> RequestOverview:
    return RequestOverview(request_id=request_id, run_id="run", metric=MetricQuestion(pos=pos))


def test_a_question_about_a_paused_run_is_answered_at_once() -> None:
    """Progress first, the answer last, tagged for who asked."""
    desk = Desk()
    desk.work_all()
    desk.ask(relevance(7), "somebody")
    desk.work_all()
    assert isinstance(desk.last_word(7), RelevanceReady)
    assert [it.done for it in desk.said(7) if isinstance(it, AnalysisProgress)] == [1, 2, 3]
    assert {it.tag.viewer_id for it in desk.reports if isinstance(it, Answered)} == {"somebody"}
    assert desk.engine.n_open == 0


def test_while_a_run_generates_a_piece_waits_for_eight_tokens() -> None:
    """And the tokens are those of a run that nobody asked about."""
    desk, quiet = Desk(start_paused=False), Desk(start_paused=False)
    desk.work(3)
    desk.ask(relevance(7))
    done_at: list[int] = []
    n_forwards = 0
    while desk.scheduler.has_work:
        before = len(desk.engine.log)
        desk.work()
        n_forwards += 1
        if len(desk.engine.log) > before:
            done_at.append(n_forwards)
    assert isinstance(desk.last_word(7), RelevanceReady)
    assert all(later - earlier >= TOKENS_PER_TURN for earlier, later in pairwise(done_at))
    quiet.work_all()
    assert [it for it in desk.reports if isinstance(it, RunFinished)] == [
        it for it in quiet.reports if isinstance(it, RunFinished)
    ]
    assert desk.n_steps == quiet.n_steps


def test_questions_take_turns() -> None:
    """A long one of another viewer does not hold up a short one."""
    desk = Desk()
    desk.work_all()
    desk.ask(relevance(1), "a")
    desk.ask(relevance(2), "b")
    desk.ask(overview(3), "a")
    desk.work_all()
    assert desk.engine.log == [(request_id, piece) for piece in range(3) for request_id in (1, 2, 3)]


def test_a_turn_takes_several_small_pieces() -> None:
    """As many as begin within its time."""
    desk = Desk(n_pieces=50)
    desk.work_all()
    desk.scheduler.turn_secs = 3600.0
    desk.ask(relevance(1))
    desk.work()
    assert isinstance(desk.last_word(1), RelevanceReady)


def test_a_newer_question_of_a_kind_supersedes_the_older_of_the_same_viewer_alone() -> None:
    """One of each kind waits at most, so at most eight of one viewer."""
    desk = Desk()
    desk.work_all()
    desk.ask(relevance(1), "a")
    desk.ask(relevance(2), "b")
    desk.ask(overview(3), "a")
    desk.work(2)
    desk.ask(relevance(4), "a")
    assert desk.code(1) == "superseded"
    desk.work_all()
    assert isinstance(desk.last_word(2), RelevanceReady)
    assert isinstance(desk.last_word(3), HeadScoresReady)
    assert isinstance(desk.last_word(4), RelevanceReady)
    assert desk.engine.n_open == 0


def test_what_is_given_up_is_let_go_of_and_told_once() -> None:
    """By request_id, by viewer; harmless afterwards."""
    desk = Desk()
    desk.work_all()
    desk.ask(relevance(1))
    desk.ask(overview(2))
    desk.work(2)
    assert desk.engine.n_open == 2
    desk.scheduler.handle(CancelJob(viewer_id="somebody else", request_id=1))
    assert len(desk.said(1)) == 1
    desk.scheduler.handle(CancelJob(viewer_id="viewer", request_id=1))
    assert desk.code(1) == "cancelled" and desk.engine.n_open == 1
    desk.scheduler.handle(CancelJob(viewer_id="viewer", request_id=1))
    desk.scheduler.handle(CancelJob(viewer_id="viewer", request_id=None))
    assert (desk.code(1), desk.code(2)) == ("cancelled", "cancelled")
    assert desk.engine.n_open == 0 and not desk.scheduler.has_work


def test_a_position_that_is_not_computed_is_refused_with_the_limit() -> None:
    """Also the newest token's, whose successor was chosen but never run."""
    desk = Desk(start_paused=False, max_new_tokens=4)
    desk.work_all()
    newest = desk.scheduler._runs["run"].n_computed - 1
    desk.ask(relevance(2, pos=newest + 1))
    last = desk.last_word(2)
    assert isinstance(last, ErrorReport) and f"0 to {newest}" in last.message
    desk.ask(relevance(3, pos=newest))
    desk.work_all()
    assert isinstance(desk.last_word(3), RelevanceReady), "the end of a run does not end its questions"


def test_the_model_may_be_asked_about_before_anything_is_computed() -> None:
    """Head scores are no run's."""
    desk = Desk()
    desk.ask(RequestHeadScores(request_id=1, run_id="run"))
    desk.ask(RequestHeadProfile(request_id=2, run_id="run", layer=0, head_index=0))
    desk.work_all()
    assert isinstance(desk.last_word(1), HeadScoresReady)
    assert not isinstance(desk.last_word(2), ErrorReport), "it waited for the prompt"


def test_asked_while_a_run_is_computed_again_a_question_waits_and_can_be_given_up() -> None:
    """Whoever asks right after a recompute asks about what comes of it, not about nothing."""
    desk = Desk()
    desk.work_all()
    for request_id in (1, 2):
        desk.scheduler.handle(
            InterveneJob(
                run_id="run", tag=Tag("viewer", 9), interventions=[], mode="recompute", recompute_from=0, restart=False
            )
        )
        desk.ask(relevance(request_id, pos=5))
        assert desk.said(request_id) == []
        if request_id == 2:
            desk.scheduler.handle(CancelJob(viewer_id="viewer", request_id=2))
        desk.work_all()
    assert isinstance(desk.last_word(1), RelevanceReady)
    assert desk.code(2) == "cancelled"


def test_asked_again_and_again_while_a_run_is_computed_only_the_newest_of_a_kind_waits() -> None:
    desk = Desk(start_paused=False)
    assert desk.scheduler.has_work
    for request_id in range(1, 50):
        desk.ask(relevance(request_id))
        desk.ask(overview(1000 + request_id))
        desk.ask(relevance(2000 + request_id), viewer_id="other")
    assert [desk.code(request_id) for request_id in (2, 1001)] == ["superseded"] * 2
    desk.work_all()
    others = [it for it in desk.reports if isinstance(it, Answered) and it.tag.viewer_id == "other"]
    answered = [it for it in desk.reports if isinstance(it, Answered) and isinstance(it.answer, RelevanceReady)]
    assert sorted((it.tag.viewer_id, it.tag.request_id) for it in answered) == [("other", 2049), ("viewer", 49)]
    assert {it.tag.request_id for it in others} == set(range(2001, 2050)), "each has its last word"


def test_two_questions_under_one_request_id_have_two_last_words() -> None:
    desk = Desk()
    desk.work_all()
    desk.ask(relevance(5))
    desk.ask(overview(5))
    desk.work_all()
    first, *_, last = desk.said(5)
    assert isinstance(first, ErrorReport) and first.code == "superseded"
    assert isinstance(last, HeadScoresReady)
    assert desk.engine.n_open == 0


def test_a_rewind_ends_the_questions_whose_positions_it_voids_and_no_others() -> None:
    """A recompute from position 4."""
    desk = Desk()
    desk.work_all()
    desk.ask(relevance(1, pos=3))
    desk.ask(overview(2, pos=4))
    desk.ask(RequestHeadProfile(request_id=3, run_id="run", layer=0, head_index=0))
    spec = InterventionSpec("i", "zero", [Component("head", 0, 1)])
    desk.scheduler.handle(
        InterveneJob(
            run_id="run",
            tag=Tag("viewer", 9),
            interventions=[spec],
            mode="recompute",
            recompute_from=4,
            restart=False,
        )
    )
    assert (desk.code(2), desk.code(3)) == ("run_rewound", "run_rewound")
    desk.work_all()
    assert isinstance(desk.last_word(1), RelevanceReady)
    desk.ask(overview(4, pos=4))
    desk.work_all()
    segments = desk.engine.contexts[-1].segments
    assert [segment.from_pos for segment in segments] == [0, 4]
    assert segments[0].masks is None and segments[1].masks is not None
    assert segments[0].revision != segments[1].revision


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (REFUSAL, "token_unknown"),
        (EngineError("out of memory"), "analysis_failed"),
        (ZeroDivisionError("by zero"), "analysis_failed"),
        (StopIteration(), "analysis_failed"),
    ],
)
def test_a_fault_ends_the_question_and_nothing_else(fault: Exception, code: str) -> None:
    """Its run goes on, another viewer's question is answered."""
    desk = Desk()
    desk.work_all()
    desk.ask(relevance(1))
    desk.work(1)
    desk.engine.fault = fault
    desk.work(1)
    desk.engine.fault = None
    assert desk.code(1) == code
    desk.ask(relevance(2))
    desk.scheduler.handle(ControlJob(run_id="run", tag=Tag("viewer", 3), action="resume"))
    desk.work_all()
    assert isinstance(desk.last_word(2), RelevanceReady)
    finished = [it for it in desk.reports if isinstance(it, RunFinished)]
    assert [it.reason for it in finished] == ["max_new_tokens"]
    assert desk.engine.n_open == 0


def test_an_engine_that_gives_no_answer_is_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever."""
    desk = Desk()
    desk.work_all()

    def silent(question: Question, context: AnalysisContext) -> Iterator[Answer]:
        return iter(())

    monkeypatch.setattr(desk.engine, "analyse", silent)
    desk.ask(relevance(1))
    desk.work_all()
    assert desk.code(1) == "analysis_failed"


def test_a_run_that_is_forgotten_takes_its_questions_along() -> None:
    """Those of other runs stay."""
    desk = Desk()
    desk.start("other", start_paused=True, max_new_tokens=4)
    desk.work_all()
    desk.ask(relevance(1))
    desk.ask(RequestPaths(request_id=2, run_id="other", metric=MetricQuestion(pos=1)))
    desk.work(2)
    desk.scheduler.handle(ForgetJob(run_id="run"))
    assert desk.code(1) == "run_unknown"
    desk.work_all()
    assert isinstance(desk.last_word(2), HeadScoresReady)
    desk.ask(relevance(3))
    assert [it for it in desk.reports if not isinstance(it, Answered)][-1].code == "run_unknown"  # type: ignore[union-attr]
    assert desk.engine.n_open == 0


def test_closing_lets_go_of_everything() -> None:
    """The server ends while questions wait."""
    desk = Desk()
    desk.work_all()
    desk.ask(relevance(1))
    desk.work(1)
    desk.scheduler.close()
    assert desk.engine.n_open == 0 and not desk.scheduler.has_work
