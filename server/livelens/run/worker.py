"""The one model thread: it alone touches the engine. A second thread quantises and packs."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Final

from livelens.model.background import yield_to_model
from livelens.model.engine import Engine
from livelens.run.job_turns import JobTurns
from livelens.run.jobs import InterveneJob, Job, Report, StepMade, TwinJob
from livelens.run.quantise import quantised
from livelens.run.scheduler import Scheduler
from livelens.run.steps import FinishStep

_log = logging.getLogger(__name__)
_STEPS_IN_ENCODER: Final = 4
_CLOSE_SECS: Final = 1.0


class Worker:
    """Jobs in, reports out. Reports arrive in order, on the encoder thread, through `on_report`.

    `encoder` quantises, so that the model thread goes on to the next token; the transport packs frames on it too.
    """

    def __init__(self, engine: Engine, *, on_report: Callable[[Report], None]) -> None:
        self._on_report = on_report
        self._scheduler = Scheduler(engine, emit=self._emit, emit_step=self._emit_step)
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._turns = JobTurns()
        self._is_closing = False
        # Bounds what waits between the two threads; a wide model quantises slower than a fake one steps.
        self._room = threading.BoundedSemaphore(_STEPS_IN_ENCODER)
        self.encoder = ThreadPoolExecutor(
            max_workers=1, thread_name_prefix="livelens-encoder", initializer=yield_to_model
        )
        self._thread = threading.Thread(target=self._loop, name="livelens-model", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Take effect at the next token boundary. From any thread."""
        self._jobs.put(job)

    def close(self) -> None:
        """End both threads; a forward call in progress gets a moment, then is left to die with the process."""
        self._is_closing = True
        self._jobs.put(None)
        self._thread.join(_CLOSE_SECS)
        self.encoder.shutdown(wait=False, cancel_futures=True)

    def _loop(self) -> None:
        while not self._is_closing:
            self._take_jobs(wait=not self._scheduler.has_work)
            if self._scheduler.has_work:
                began = time.perf_counter()
                made_tokens = self._scheduler.work()
                secs = time.perf_counter() - began
                if made_tokens:
                    self._turns.worked(secs)
                else:
                    self._turns.brought_up(secs)
        self._scheduler.close()

    def _take_jobs(self, *, wait: bool) -> None:
        turns = self._turns
        if wait:
            turns.idle()
        try:
            job = self._jobs.get(block=wait and not turns.has_ready)
            while job is not None:
                turns.put(job)
                job = self._jobs.get_nowait()
        except queue.Empty:
            pass
        while turns.has_ready and not self._is_closing:
            jobs, began = turns.take(), time.perf_counter()
            changes = [job for job in jobs if isinstance(job, InterveneJob | TwinJob)]
            if len(changes) > 1:
                self._scheduler.handle_newest(changes)
            else:
                self._scheduler.handle(jobs[0])
            turns.took(jobs, time.perf_counter() - began)

    def _emit(self, report: Report) -> None:
        if not self._is_closing:
            self._in_encoder(lambda: self._on_report(report))

    def _emit_step(self, finish: FinishStep) -> None:
        while not self._room.acquire(timeout=0.2):
            if self._is_closing:
                return
        if not self._is_closing:
            self._in_encoder(lambda: self._quantise_and_report(finish))

    def _in_encoder(self, work: Callable[[], None]) -> None:
        self.encoder.submit(work).add_done_callback(_log_fault)

    def _quantise_and_report(self, finish: FinishStep) -> None:
        try:
            step, exact = finish()
            # Exact differences are as large as what they are taken of, and nobody asks for them again.
            report = StepMade(step=step, arrays=quantised(exact), exact=replace(exact, difference=None))
        finally:
            self._room.release()
        self._on_report(report)


def _log_fault(future: Future[None]) -> None:
    if not future.cancelled() and future.exception() is not None:
        _log.error("the encoder thread failed", exc_info=future.exception())
