"""All runs of one engine, taken in turn: a token each, and between tokens what waits. No thread of its own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from livelens.model.engine import AnalysisContext, Engine, EngineError
from livelens.model.operations import WeightEdit
from livelens.run.analyses import Analyses, given_up_report, is_superseded, superseded_report
from livelens.run.forking import fork_opening
from livelens.run.jobs import (
    AnalysisJob,
    Answered,
    CancelJob,
    ChannelsJob,
    ControlJob,
    DirectionJob,
    ForgetJob,
    ForkJob,
    InterveneJob,
    Job,
    LensJob,
    OpeningJob,
    Refused,
    Report,
    RunJob,
    StartJob,
    StopJob,
    Tag,
    TwinJob,
    WeightEditJob,
)
from livelens.run.memory import available_bytes, run_bytes
from livelens.run.opening import Opening, RefusedError, opening_of
from livelens.run.resources import Surroundings
from livelens.run.run import Run
from livelens.run.steps import EmitStep

_log = logging.getLogger(__name__)
# Between two turns of questions while some run generates. A turn takes about as long as four tokens
# (`model/replay.py`, `run/analyses.py`), so that questions cost a run about a third of its speed.
TOKENS_PER_TURN: Final = 8
# Keys and values of ended runs, kept so that a fork need not compute them again.
KEPT_CACHE_BYTES: Final = 256 * 1024 * 1024
_Held = TypeVar("_Held")


def _hold(held: dict[str, _Held], name: str, value: _Held | None) -> None:
    """Hold a value by its id; none: let go of it."""
    held.pop(name, None)
    if value is not None:
        held[name] = value


class Scheduler:
    """Jobs are handled at token boundaries; `work` does one small piece, so that no job waits longer."""

    def __init__(self, engine: Engine, *, emit: Callable[[Report], None], emit_step: EmitStep) -> None:
        self._engine = engine
        self._emit = emit
        self._emit_step = emit_step
        self._runs: dict[str, Run] = {}
        self._turn: list[str] = []
        self._directions: dict[str, NDArray[np.float32]] = {}
        self._edits: dict[str, WeightEdit] = {}
        self._surroundings = Surroundings(directions=self._directions, edits=self._edits, run_of=self._run_context)
        self._analyses = Analyses(engine, emit=emit)
        self._early: list[AnalysisJob] = []  # about runs that were being computed when they were asked
        self._n_since_turn = 0  # forward calls of runs since a question had its turn

    @property
    def turn_secs(self) -> float:
        """How long a question's turn may go on beginning pieces; 0 is one piece a turn."""
        return self._analyses.turn_secs

    @turn_secs.setter
    def turn_secs(self, secs: float) -> None:
        self._analyses.turn_secs = secs

    @property
    def has_work(self) -> bool:
        """`work` would do something."""
        return self._analyses.has_work or any(
            run.wants_forward or run.reporter.has_unread or run.has_unread_lens for run in self._runs.values()
        )

    def work(self) -> bool:
        """One token of the run whose turn it is, then one position that waits; in idle time, a question or a lens.

        False where the run's turn went to the past of its clean twin and no token was made.
        """
        run = self._next_run()
        makes_tokens = run is None or not run.brings_up_twin
        if run is not None:
            self._guarded(run, run.advance)
            self._n_since_turn += 1
        unread = next((run for run in self._runs.values() if run.reporter.has_unread or run.has_asked), None)
        if unread is not None:
            self._guarded(unread, unread.reporter.tell_one)
        if self._analyses.has_work and (run is None or self._n_since_turn >= TOKENS_PER_TURN):
            self._n_since_turn = 0
            self._analyses.take_turn()
        elif run is None and unread is None:
            lens = next((run for run in self._runs.values() if run.has_unread_lens), None)
            if lens is not None:
                self._guarded(lens, lens.reporter.tell_one_lens)
        self._settle()
        return makes_tokens

    def handle(self, job: Job) -> None:
        """Carry out one job."""
        match job:
            case StartJob() | ForkJob():
                self._start(job)
            case DirectionJob():
                _hold(self._directions, job.direction_id, job.vector)
            case WeightEditJob():
                _hold(self._edits, job.edit_id, job.edit)
            case CancelJob():
                self._cancel(job)
            case _:
                self._handle_for(self._runs.get(job.run_id), job)
                self._settle()

    def handle_newest(self, jobs: Sequence[InterveneJob | TwinJob]) -> None:
        """Sets, or switches, for one position of one run, oldest first: the newest that can hold is taken alone."""
        run = self._runs.get(jobs[-1].run_id)
        left = list(jobs)
        while left and not self._command(run, left.pop()):
            pass
        for job in left:
            what = "set" if isinstance(job, InterveneJob) else "switch"
            self._refuse(job.run_id, job.tag, "superseded", f"a newer {what} came before this one could hold anywhere")
        self._settle()

    def _handle_for(self, run: Run | None, job: RunJob) -> None:
        match job:
            case ControlJob() | InterveneJob() | TwinJob():
                self._command(run, job)
            case AnalysisJob():
                self._ask(run, job)
            case StopJob():
                if run is not None:
                    run.stop(job.reason, job.message, job.tag)
            case ChannelsJob():
                if run is not None:
                    run.want_channels(job.channels)
            case LensJob():
                if run is not None:
                    run.reporter.prefer_lens(job.positions)
            case ForgetJob():
                if run is not None:
                    self._analyses.forget_run(job.run_id)
                    self._runs.pop(job.run_id).close()
                    self._turn.remove(job.run_id)

    def close(self) -> None:
        """Let go of every question and every run."""
        self._analyses.close()
        for run in self._runs.values():
            run.close()
        self._runs.clear()
        self._turn.clear()

    def _next_run(self) -> Run | None:
        for run_id in list(self._turn):
            self._turn.remove(run_id)
            self._turn.append(run_id)
            if self._runs[run_id].wants_forward:
                return self._runs[run_id]
        return None

    def _guarded(self, run: Run, work: Callable[[], None]) -> str | None:
        """A fault of the engine ends this run and nothing else; returns its text, none when the work was done."""
        fault: Exception | None = None
        try:
            work()
        except Exception as error:
            fault = error
        if fault is None:
            return None
        # Outside the except block, so that the traceback's frames let go of their tensors (pytorch#18853).
        text = str(fault) or type(fault).__name__
        if not isinstance(fault, EngineError):
            _log.error("the engine faulted in a run: %r", fault)
        fault = None
        run.fail(text)
        if self._engine.hooks_left():
            _log.error("%d hooks were left on the model after a fault", self._engine.hooks_left())
        return text

    def _settle(self) -> None:
        """Tell the end of runs that have ended and reported everything."""
        for run in self._runs.values():
            if run.finish_reason is not None and not run.is_done and not run.reporter.has_unread:
                run.tell_finish()
                self._keep_caches(KEPT_CACHE_BYTES)
        self._ask_early()

    def _command(self, run: Run | None, job: ControlJob | InterveneJob | TwinJob) -> bool:
        """False where a set or a switch was refused."""
        if run is None or run.finish_reason is not None:
            self._refuse(job.run_id, job.tag, "run_ended", "this run has ended: start a new one")
            return False
        if isinstance(job, InterveneJob):
            is_taken = self._intervene(run, job)
            self._analyses.forget_from(run.run_id, run.n_computed)
            return is_taken
        if isinstance(job, TwinJob):
            return self._set_twin(run, job)
        if job.action == "pause":
            run.pause(job.tag)
        elif job.action == "resume":
            run.resume(job.tag)
        else:
            run.step_once(job.tag)
        return True

    def _intervene(self, run: Run, job: InterveneJob) -> bool:
        refused: list[RefusedError] = []

        def work() -> None:
            try:
                run.intervene(job)
            except RefusedError as error:
                self._refuse(job.run_id, job.tag, error.code, str(error))
                refused.append(error)

        fault = self._guarded(run, work)
        if fault is not None:
            self._refuse(
                job.run_id, job.tag, "engine_fault", f"the engine failed at this set, and the run ended: {fault}"
            )
        return fault is None and not refused

    def _set_twin(self, run: Run, job: TwinJob) -> bool:
        try:
            if job.mode != "off":
                self._check_memory(run.n_most)
        except RefusedError as error:
            self._refuse(job.run_id, job.tag, error.code, str(error))
            return False
        fault = self._guarded(run, lambda: run.set_twin(job.mode, job.tag))
        if fault is not None:
            message = f"the engine failed at this switch, and the run ended: {fault}"
            self._refuse(job.run_id, job.tag, "engine_fault", message)
        return fault is None

    def _run_context(self, run_id: str) -> AnalysisContext | None:
        run = self._runs.get(run_id)
        return None if run is None else run.analysis_context()

    def _ask(self, run: Run | None, job: AnalysisJob) -> None:
        if run is None:
            self._refuse(job.run_id, job.tag, "run_unknown", "this server no longer has that run: start it again")
        elif run.is_catching_up:  # a prompt, or what a recompute voided: it will be there in a moment
            self._ask_later(job)
        else:
            self._analyses.ask(job, run.analysis_context())

    def _ask_later(self, job: AnalysisJob) -> None:
        """Keep a question until its run has caught up, in the place of the viewer's older one of its kind."""
        for older in [older for older in self._early if is_superseded(older.tag, older.question, job)]:
            self._early.remove(older)
            self._emit(Answered(tag=older.tag, answer=superseded_report(older.tag, older.question)))
        self._early.append(job)

    def _ask_early(self) -> None:
        """Questions that had to wait for their run, as soon as it has caught up."""
        early, self._early = self._early, []
        for job in early:
            self._ask(self._runs.get(job.run_id), job)

    def _cancel(self, cancel: CancelJob) -> None:
        self._analyses.cancel(cancel)
        given_up = [
            job
            for job in self._early
            if job.tag.viewer_id == cancel.viewer_id and cancel.request_id in (None, job.tag.request_id)
        ]
        self._early = [job for job in self._early if job not in given_up]
        for job in given_up:
            self._emit(Answered(tag=job.tag, answer=given_up_report(job.tag, job.run_id)))

    def _start(self, job: OpeningJob) -> None:
        opening: Opening | None = None
        try:
            opening = self._opening(job)
            run = Run(
                self._engine, opening, emit=self._emit, emit_step=self._emit_step, surroundings=self._surroundings
            )
        except RefusedError as error:
            self._refuse(job.run_id, job.tag, error.code, str(error))
            if opening is not None:
                opening.sequence.close()
        except Exception as error:
            _log.error("starting a run failed: %r", error)
            self._refuse(job.run_id, job.tag, "engine_fault", f"the engine could not start this run: {error}")
            if opening is not None:
                opening.sequence.close()
        else:
            self._runs[job.run_id] = run
            self._turn.append(job.run_id)

    def _opening(self, job: OpeningJob) -> Opening:
        if isinstance(job, StartJob):
            # A prompt has at least as many characters as tokens in almost any text; n_ctx is checked exactly later.
            self._check_memory(len(job.prompt) + job.sampling.max_new_tokens, has_twin=job.twin != "off")
            return opening_of(self._engine, job)
        parent = self._runs.get(job.parent_id)
        if parent is None:
            raise RefusedError("run_unknown", "this server no longer has that run: start it again")
        sampling = job.sampling or parent.opening.sampling
        self._check_memory(len(parent.tokens) + sampling.max_new_tokens, has_twin=job.twin != "off")
        return fork_opening(self._engine, parent, job)

    def _check_memory(self, n_positions: int, *, has_twin: bool = False) -> None:
        n_rows, n_most = 2 if has_twin else 1, min(n_positions, self._engine.info.n_ctx)
        needed, available = run_bytes(self._engine, n_most, n_rows=n_rows), available_bytes()
        if available is not None and needed > available:
            self._keep_caches(0)
            available = available_bytes()
        if available is not None and needed > available:
            raise RefusedError(
                "not_enough_memory",
                f"this may need {needed >> 20} MiB and {available >> 20} MiB are free: "
                "lower max_new_tokens or shorten the prompt" + (", or carry no twin" if has_twin else ""),
            )

    def _keep_caches(self, budget_bytes: int) -> None:
        """Let go of the caches of ended runs beyond so many bytes, of those that began first."""
        ended = [run for run in self._runs.values() if run.is_done and run.cache_positions]
        sizes = [self._engine.estimate_bytes(run.cache_positions, frozenset()) for run in ended]
        total = sum(sizes)
        for run, size in zip(ended, sizes, strict=True):
            if total <= budget_bytes:
                break
            run.let_go_of_cache()
            total -= size

    def _refuse(self, run_id: str, tag: Tag, code: str, message: str) -> None:
        self._emit(Refused(run_id=run_id, tag=tag, code=code, message=message))
