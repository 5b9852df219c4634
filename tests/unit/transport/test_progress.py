"""A viewer that takes nothing is told apart from one that is slow or idle."""

from __future__ import annotations

from livelens.transport.progress import DEADLINE_SECS, Progress


def test_nothing_drained_for_the_deadline_is_a_stall() -> None:
    progress = Progress(0.0)
    assert not progress.is_stalled(pending_bytes=1000, n_sent=1, now=1.0)
    assert not progress.is_stalled(pending_bytes=1000, n_sent=1, now=DEADLINE_SECS)
    assert progress.is_stalled(pending_bytes=1000, n_sent=1, now=DEADLINE_SECS + 1.0)
    assert DEADLINE_SECS + 1 < 20


def test_a_viewer_at_a_kibibyte_a_second_survives() -> None:
    progress, pending = Progress(0.0), 2_000_000
    for second in range(120):
        pending -= 1024
        assert not progress.is_stalled(pending_bytes=pending, n_sent=1, now=float(second))


def test_an_idle_viewer_survives() -> None:
    progress = Progress(0.0)
    assert not any(progress.is_stalled(pending_bytes=0, n_sent=5, now=float(second)) for second in range(200))


def test_a_frame_that_was_taken_counts_although_more_waits_now() -> None:
    progress = Progress(0.0)
    for second in range(60):
        assert not progress.is_stalled(pending_bytes=1000 + second, n_sent=second, now=float(second))
