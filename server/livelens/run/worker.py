"""The one model thread: it alone touches the engine, and advances every run one token at a time."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from livelens.model.engine import Engine, EngineError, StepArrays
from livelens.protocol.messages import Step
from livelens.run.jobs import (
    ChannelsJob,
    ControlJob,
    ForgetJob,
    InterveneJob,
    Job,
    LensJob,
    Refused,
    Report,
    StartJob,
    StepMade,
    StopJob,
    Tag,
)
from livelens.run.memory import available_bytes, run_bytes
from livelens.run.quantise import quantised
from livelens.run.run import RefusedError, Run

_log = logging.getLogger(__name__)
_STEPS_IN_ENCODER: Final = 4
_CLOSE_SECS: Final = 1.0


class Worker:
    """Jobs in, reports out. Reports arrive in order, on the encoder thread, through `on_report`.

    The encoder thread quantises, so that the model thread goes on to the next token; it also packs
    frames for the transport (`encoder`).
    """

    def __init__(self, engine: Engine, *, on_report: Callable[[Report], None]) -> None:
        self._engine = engine
        self._on_report = on_report
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._runs: dict[str, Run] = {}
        self._turn: list[str] = []
        self._is_closing = False
        # Bounds what waits between the two threads; a wide model quantises slower than a fake one steps.
        self._room = threading.BoundedSemaphore(_STEPS_IN_ENCODER)
        self.encoder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="livelens-encoder")
        self._thread = threading.Thread(target=self._loop, name="livelens-model", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Take effect at the next token boundary. From any thread."""
        self._jobs.put(job)

    @property
    def is_alive(self) -> bool:
        """The model thread still runs."""
        return self._thread.is_alive()

    def close(self) -> None:
        """End both threads; a forward call in progress gets a moment, then is left to die with the process."""
        self._is_closing = True
        self._jobs.put(None)
        self._thread.join(_CLOSE_SECS)
        self.encoder.shutdown(wait=False, cancel_futures=True)

    # ------------------------------------------------------------------ model thread

    def _loop(self) -> None:
        while not self._is_closing:
            self._take_jobs(wait=not self._work_is_left())
            if self._is_closing:
                break
            self._work()
        for run in self._runs.values():
            run.close()

    def _work_is_left(self) -> bool:
        return any(run.wants_forward or run.has_unread or run.has_unread_lens for run in self._runs.values())

    def _take_jobs(self, *, wait: bool) -> None:
        try:
            job = self._jobs.get(block=wait)
            while job is not None:
                self._handle(job)
                job = self._jobs.get_nowait()
        except queue.Empty:
            pass

    def _work(self) -> None:
        """One token of the run whose turn it is, then one position that waits; in idle time, a lens."""
        run = self._next_run()
        if run is not None:
            self._guarded(run, run.advance)
        unread = next((run for run in self._runs.values() if run.has_unread), None)
        if unread is not None:
            self._guarded(unread, unread.read_one)
        elif run is None:
            lens = next((run for run in self._runs.values() if run.has_unread_lens), None)
            if lens is not None:
                self._guarded(lens, lens.read_one_lens)
        self._settle()

    def _next_run(self) -> Run | None:
        for run_id in list(self._turn):
            self._turn.remove(run_id)
            self._turn.append(run_id)
            if self._runs[run_id].wants_forward:
                return self._runs[run_id]
        return None

    def _guarded(self, run: Run, work: Callable[[], None]) -> None:
        """A fault of the engine ends this run and nothing else."""
        fault: Exception | None = None
        try:
            work()
        except Exception as error:
            fault = error
        # Outside the except block, so that the traceback's frames let go of their tensors (pytorch#18853).
        if fault is not None:
            if not isinstance(fault, EngineError):
                _log.error("the engine faulted in run %s: %r", run.run_id[:6], fault)
            run.fail(RuntimeError(str(fault) or type(fault).__name__))
            fault = None
            run.close()
            if self._engine.hooks_left():
                _log.error("%d hooks were left on the model after a fault", self._engine.hooks_left())

    def _settle(self) -> None:
        """Tell the end of runs that have ended and reported everything."""
        for run in self._runs.values():
            if run.finish_reason is not None and not run.is_done and not run.has_unread:
                run.tell_finish()

    def _handle(self, job: Job) -> None:
        if isinstance(job, StartJob):
            self._start(job)
            return
        run = self._runs.get(job.run_id)
        match job:
            case ControlJob() | InterveneJob():
                self._command(run, job)
            case StopJob():
                if run is not None:
                    run.stop(job.reason, job.message, job.tag)
                    self._settle()
            case ChannelsJob():
                if run is not None:
                    run.want_channels(job.channels)
            case LensJob():
                if run is not None:
                    run.want_lens(job.positions)
            case ForgetJob():
                if run is not None:
                    self._runs.pop(job.run_id).close()
                    self._turn.remove(job.run_id)

    def _command(self, run: Run | None, job: ControlJob | InterveneJob) -> None:
        if run is None or run.finish_reason is not None:
            self._refuse(job.run_id, job.tag, "run_ended", "this run has ended: start a new one")
        elif isinstance(job, InterveneJob):
            self._guarded(run, lambda: run.intervene(job))
        elif job.action == "pause":
            run.pause(job.tag)
        elif job.action == "resume":
            run.resume(job.tag)
        else:
            run.step_once(job.tag)

    def _start(self, job: StartJob) -> None:
        try:
            self._check_memory(job)
            run = Run(self._engine, job, emit=self._emit, emit_step=self._emit_step)
        except RefusedError as error:
            self._refuse(job.run_id, job.tag, error.code, str(error))
        except Exception as error:
            _log.error("starting run %s failed: %r", job.run_id[:6], error)
            self._refuse(job.run_id, job.tag, "engine_fault", f"the engine could not start this run: {error}")
        else:
            self._runs[job.run_id] = run
            self._turn.append(job.run_id)

    def _check_memory(self, job: StartJob) -> None:
        # Four characters a token is an English average; a prompt alone is checked against n_ctx later.
        n_positions = len(job.prompt) // 4 + job.sampling.max_new_tokens
        needed = run_bytes(self._engine, min(n_positions, self._engine.info.n_ctx))
        available = available_bytes()
        if available is not None and needed > available:
            raise RefusedError(
                "not_enough_memory",
                f"this run may need {needed >> 20} MiB and {available >> 20} MiB are free: "
                "lower max_new_tokens or shorten the prompt",
            )

    def _refuse(self, run_id: str, tag: Tag, code: str, message: str) -> None:
        self._emit(Refused(run_id=run_id, tag=tag, code=code, message=message))

    # ------------------------------------------------------------------ to the encoder thread

    def _emit(self, report: Report) -> None:
        if not self._is_closing:
            self.encoder.submit(self._on_report, report)

    def _emit_step(self, step: Step, exact: StepArrays) -> None:
        while not self._room.acquire(timeout=0.2):
            if self._is_closing:
                return
        if self._is_closing:
            return
        self.encoder.submit(self._quantise_and_report, step, exact)

    def _quantise_and_report(self, step: Step, exact: StepArrays) -> None:
        try:
            report = StepMade(step=step, arrays=quantised(exact), exact=exact)
        finally:
            self._room.release()
        self._on_report(report)
