"""Questions that wait for the model thread, and those half answered: a piece each in turn."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from livelens.model.engine import AnalysisContext, AnalysisRefusedError, Engine, EngineError
from livelens.protocol.messages import (
    AnalysisProgress,
    Answer,
    ErrorReport,
    NeuronProfileReady,
    Question,
    RequestAttentionEntropy,
    RequestComparison,
    RequestDirection,
    RequestHeadLens,
    RequestHeadProfile,
    RequestHeadScores,
    RequestLens,
    RequestNeuronProfile,
    RequestRankOneEdit,
    RequestStreamPca,
    analysis_kind,
)
from livelens.run.jobs import AnalysisJob, Answered, CancelJob, PastRun, Report, Tag
from livelens.run.past_contexts import with_past_contexts

_log = logging.getLogger(__name__)
# A turn takes as many pieces as begin within this; many are small, and while a run generates turns are rare.
TURN_SECS: Final = 0.1


@dataclass(slots=True)
class _Waiting:
    """One question, the run as it was when it was asked, and its answer as far as it has come."""

    question: Question
    tag: Tag
    context: AnalysisContext
    past_runs: tuple[PastRun, ...] = ()
    answers: Iterator[Answer] | None = None

    @property
    def n_needed(self) -> int:
        """Positions of the run that the answer is about; once one of them is void, so is the question."""
        match self.question:
            case RequestHeadScores():
                return 0
            case RequestDirection(recipe=recipe):
                return max(1, self.context.n_positions) if recipe.kind in ("head", "pca") else 0
            case RequestRankOneEdit(recipe=recipe):
                last = self.context.n_positions - 1 if recipe.to_pos is None else recipe.to_pos
                return 0 if recipe.prompt else max(1, last + 1)
            case RequestHeadProfile() | RequestNeuronProfile() | RequestStreamPca():
                return max(1, self.context.n_positions)
            case RequestLens() | RequestHeadLens() | RequestAttentionEntropy() | RequestComparison():
                return self.question.pos + 1
            case _:
                return self.question.metric.pos + 1

    def close(self) -> None:
        """Let go of what was computed for it."""
        answers, self.answers = self.answers, None
        close = getattr(answers, "close", None)  # a generator's; another iterator holds nothing open
        if close is not None:
            close()


class Analyses:
    """The questions of all viewers, at most one of each kind for each viewer. Used by the model thread only."""

    def __init__(self, engine: Engine, *, emit: Callable[[Report], None]) -> None:
        self._engine = engine
        self._emit = emit
        self.turn_secs = TURN_SECS
        self._waiting: OrderedDict[Tag, _Waiting] = OrderedDict()  # the next to have its turn first

    @property
    def has_work(self) -> bool:
        """Some question waits."""
        return bool(self._waiting)

    def ask(self, job: AnalysisJob, context: AnalysisContext) -> None:
        """Queue a question; the same viewer's older one of its kind is given up, and it is told so."""
        for tag, older in list(self._waiting.items()):
            if is_superseded(tag, older.question, job):
                self._end(older, superseded_report(tag, older.question))
        waiting = _Waiting(job.question, job.tag, context, job.past_runs)
        if waiting.n_needed > context.n_positions:
            self._refuse(waiting, "not_computed", _not_computed(waiting))
        else:
            self._waiting[job.tag] = waiting

    def cancel(self, job: CancelJob) -> None:
        """Give up one question of a viewer, or all; harmless when it was answered."""
        for tag, waiting in list(self._waiting.items()):
            if tag.viewer_id == job.viewer_id and job.request_id in (None, tag.request_id):
                self._end(waiting, given_up_report(tag, waiting.question.run_id))

    def forget_run(self, run_id: str) -> None:
        """The run is gone."""
        for waiting in self._of_run(run_id):
            self._refuse(waiting, "run_unknown", "the run was let go of before the question was answered")

    def forget_from(self, run_id: str, n_positions: int) -> None:
        """The run's positions from `n_positions` on are void."""
        for waiting in self._of_run(run_id):
            if waiting.n_needed > n_positions:
                message = f"the run was rewound to position {n_positions}: ask again when it has come back"
                self._refuse(waiting, "run_rewound", message)

    def take_turn(self) -> None:
        """A piece, or several small ones, of the question whose turn it is."""
        tag = next(iter(self._waiting))
        self._waiting.move_to_end(tag)
        until = time.perf_counter() + self.turn_secs
        self._work(self._waiting[tag])
        while tag in self._waiting and time.perf_counter() < until:
            self._work(self._waiting[tag])

    def _work(self, waiting: _Waiting) -> None:
        """One piece. A fault ends the question and nothing else."""
        refusal, fault = self._next_piece(waiting)
        # Here, not where they were caught, so that the traceback's frames let go of their tensors.
        if refusal is not None:
            self._refuse(waiting, *refusal)
        elif fault is not None:
            _log.error("a question (%s) failed: %s", analysis_kind(waiting.question), fault)
            self._refuse(waiting, "analysis_failed", f"the engine failed at this question: {fault}")
            if self._engine.hooks_left():
                _log.error("%d hooks were left on the model after a question", self._engine.hooks_left())

    def close(self) -> None:
        """Let go of every question; nobody is left to be told."""
        for waiting in self._waiting.values():
            waiting.close()
        self._waiting.clear()

    def _next_piece(self, waiting: _Waiting) -> tuple[tuple[str, str] | None, str | None]:
        """What it is refused for (code, text), or the fault's text; neither when the piece was done."""
        try:
            if waiting.answers is None:
                waiting.answers = self._engine.analyse(waiting.question, waiting.context)
            answer = next(waiting.answers)
            if isinstance(answer, NeuronProfileReady) and waiting.past_runs:
                answer = with_past_contexts(answer, waiting.past_runs, self._engine)
        except AnalysisRefusedError as error:
            return (error.code, str(error)), None
        except StopIteration:
            return None, "it gave no answer"
        except EngineError as error:
            return None, str(error)
        except Exception as error:
            return None, f"{type(error).__name__}: {error}"
        if not isinstance(answer, AnalysisProgress):
            del self._waiting[waiting.tag]
            waiting.close()
        self._emit(Answered(tag=waiting.tag, answer=answer))
        return None, None

    def _of_run(self, run_id: str) -> list[_Waiting]:
        return [waiting for waiting in self._waiting.values() if waiting.question.run_id == run_id]

    def _refuse(self, waiting: _Waiting, code: str, message: str) -> None:
        report = ErrorReport(
            code=code, message=message, request_id=waiting.tag.request_id, run_id=waiting.question.run_id
        )
        self._end(waiting, report)

    def _end(self, waiting: _Waiting, report: ErrorReport) -> None:
        """The last word on a question: one for each, whatever becomes of it."""
        self._waiting.pop(waiting.tag, None)
        waiting.close()
        self._emit(Answered(tag=waiting.tag, answer=report))


def given_up_report(tag: Tag, run_id: str) -> ErrorReport:
    """The last word on a question that its viewer gave up."""
    return ErrorReport(code="cancelled", message="the question was given up", request_id=tag.request_id, run_id=run_id)


def is_superseded(tag: Tag, question: Question, newer: AnalysisJob) -> bool:
    """The same viewer asks `newer` instead: a question of the same kind, or under the same request_id."""
    same_kind = analysis_kind(question) == analysis_kind(newer.question)
    return tag == newer.tag or (same_kind and tag.viewer_id == newer.tag.viewer_id)


def superseded_report(tag: Tag, question: Question) -> ErrorReport:
    """The last word on a question that gave way to a newer one of its viewer."""
    message = f"a newer question of yours ({analysis_kind(question)}) took its place"
    return ErrorReport(code="superseded", message=message, request_id=tag.request_id, run_id=question.run_id)


def _not_computed(waiting: _Waiting) -> str:
    n = waiting.context.n_positions
    if n == 0:
        return "nothing of this run is computed: ask when it has begun"
    return f"position {waiting.n_needed - 1} is not computed: this run has positions 0 to {n - 1} by now"
