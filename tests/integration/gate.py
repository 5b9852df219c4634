"""A fake engine that goes no further than it is let: what a test does in the midst of a run cannot come too late."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence

import pytest

from livelens.model.fake.captured import FakeCaptured
from livelens.model.fake.sequence import FakeSequence
from livelens.model.interventions import InterventionMasks
from livelens.protocol.messages import Channel

_GIVE_UP_SECS = 120  # so that a test that fails does not hold its server's end up for ever


class Gate:
    """Every fake engine of this process computes the positions before `hold_at`, and waits with that one."""

    def __init__(self, patch: pytest.MonkeyPatch, *, hold_at: float = math.inf) -> None:
        self._hold_at = hold_at
        self._changed = threading.Condition()
        forward = FakeSequence.forward

        def gated(
            sequence: FakeSequence,
            token_ids: Sequence[int],
            *,
            masks: InterventionMasks | None,
            channels: frozenset[Channel],
        ) -> FakeCaptured:
            if len(token_ids) == 1:  # a prompt's come several at a time
                self._wait(sequence.n_positions)
            return forward(sequence, token_ids, masks=masks, channels=channels)

        patch.setattr(FakeSequence, "forward", gated)

    def hold_at(self, pos: int) -> None:
        """From now on."""
        with self._changed:
            self._hold_at = pos

    def let(self, n_positions: float = math.inf) -> None:
        """So many positions further, or to the end."""
        with self._changed:
            self._hold_at += n_positions
            self._changed.notify_all()

    def _wait(self, pos: int) -> None:
        with self._changed:
            self._changed.wait_for(lambda: pos < self._hold_at, _GIVE_UP_SECS)
