"""Work with a callback becomes a generator: one thread at a time, and closing ends it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator

import pytest

from livelens.model.in_turns import in_turns


def drained(steps: Generator[None, None, str]) -> tuple[int, str]:
    n = 0
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return n, end.value
        n += 1


def test_it_stops_at_each_call_and_returns_the_result() -> None:
    """Nothing happens between two calls of next."""
    done: list[int] = []

    def work(between: Callable[[], None]) -> str:
        for piece in range(3):
            done.append(piece)
            between()
        return "result"

    steps = in_turns(work)
    assert done == []
    for piece in range(3):
        next(steps)
        assert done == list(range(piece + 1))
    assert drained(steps) == (0, "result")
    assert drained(in_turns(lambda between: "at once")) == (0, "at once")


def test_what_the_work_raises_is_raised_here() -> None:
    """With its own type."""

    def work(between: Callable[[], None]) -> str:
        between()
        raise ZeroDivisionError("by zero")

    with pytest.raises(ZeroDivisionError, match="by zero"):
        drained(in_turns(work))


def test_closing_ends_the_work_where_it_stands() -> None:
    """It lets go of what it holds, and its thread is gone."""
    released: list[str] = []

    def work(between: Callable[[], None]) -> str:
        try:
            between()
            released.append("went on")
        finally:
            released.append("let go")
        return ""

    def n_threads() -> int:
        """Of this kind: others come and go as they like."""
        return sum(thread.name == "livelens-steps" for thread in threading.enumerate())

    n_before = n_threads()
    steps = in_turns(work)
    next(steps)
    assert n_threads() == n_before + 1
    steps.close()
    assert released == ["let go"]
    assert n_threads() == n_before
    unused = in_turns(work)
    unused.close()
    assert released == ["let go"] and n_threads() == n_before
