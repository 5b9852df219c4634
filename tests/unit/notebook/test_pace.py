"""At most so many times a second, and the last time always."""

from __future__ import annotations

import numpy as np
from tests.unit.notebook.scenes import FakeTime

from livelens.notebook.pace import Pace


def test_a_pace_joins_requests_and_keeps_the_last() -> None:
    time, done = FakeTime(), []
    pace = Pace(lambda: done.append(time.now), interval_secs=0.1, clock=time.clock, call_later=time.call_later)
    for _ in range(100):
        pace.ask()
        time.move(0.005)
    time.move(0.2)
    gaps = np.diff(done)
    assert np.all(gaps >= 0.1 - 1e-9) and 5 <= len(done) <= 7
    assert done[-1] >= 100.495
    pace.ask()
    pace.ask()
    pace.close()
    time.move(1)
    assert len(done) <= 8
