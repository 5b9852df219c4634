"""Long work that calls back between its steps, as a generator that stops at each of them.

A generator can only yield from its own frame; work that offers a callback is therefore run on a thread
of its own, which goes on only while the generator is in `next`: never two threads at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import Generic, TypeVar

T = TypeVar("T")


class _GivenUpError(BaseException):
    """Raised in the work where it stands, so that it lets go of what it holds."""


class _Stepper(Generic[T]):
    """The two threads' handing over: `step` here goes on there until `between` or the end."""

    def __init__(self, work: Callable[[Callable[[], None]], T]) -> None:
        self._work = work
        self._turn, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._is_given_up = False
        self._fault: BaseException | None = None
        self._result: list[T] = []
        self.is_done = False
        self._thread = threading.Thread(target=self._run, name="livelens-steps", daemon=True)
        self._thread.start()

    def step(self) -> None:
        self._turn.release()
        self._stopped.acquire()

    def give_up(self) -> None:
        if not self.is_done:
            self._is_given_up = True
            self.step()
        self._thread.join()

    def result(self) -> T:
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault
        return self._result[0]

    def _between(self) -> None:
        self._stopped.release()
        self._turn.acquire()
        if self._is_given_up:
            raise _GivenUpError

    def _run(self) -> None:
        self._turn.acquire()
        try:
            if not self._is_given_up:
                self._result.append(self._work(self._between))
        except BaseException as fault:  # raised again where the work is waited for
            self._fault = fault
        finally:
            self.is_done = True
            self._stopped.release()


def in_turns(work: Callable[[Callable[[], None]], T]) -> Generator[None, None, T]:
    """`work(between)`, stopped at each call of `between`; returns its result, raises what it raises.

    Closing the generator ends the work at its next `between`.
    """
    stepper = _Stepper(work)
    try:
        stepper.step()
        while not stepper.is_done:
            yield
            stepper.step()
        return stepper.result()
    finally:
        stepper.give_up()
