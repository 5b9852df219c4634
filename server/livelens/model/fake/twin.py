"""A run of the fake network and its clean twin, carried together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from livelens.model.fake.captured import FakeCaptured
from livelens.model.interventions import InterventionMasks
from livelens.protocol.messages import Channel

if TYPE_CHECKING:
    from livelens.model.fake.sequence import FakeSequence


class FakeTwin:
    """`TwinSequence`: two sequences of equal length, extended one after the other."""

    def __init__(self, patched: FakeSequence, clean: FakeSequence) -> None:
        """Raises ValueError where they differ in length."""
        if patched.n_positions != clean.n_positions:
            raise ValueError(f"rows of {patched.n_positions} and {clean.n_positions} positions make no batch")
        self._patched = patched
        self._clean = clean

    @property
    def n_positions(self) -> int:
        """Positions computed so far, in both rows."""
        return self._patched.n_positions

    def forward(
        self,
        token_ids: Sequence[int],
        clean_ids: Sequence[int],
        *,
        masks: InterventionMasks | None,
        channels: frozenset[Channel],
    ) -> tuple[FakeCaptured, FakeCaptured]:
        """See `TwinSequence.forward`."""
        patched = self._patched.forward(token_ids, masks=masks, channels=channels)
        return patched, self._clean.forward(clean_ids, masks=None, channels=channels)

    def truncate(self, n_positions: int) -> None:
        """Forget every position from `n_positions` on, in both rows."""
        self._patched.truncate(n_positions)
        self._clean.truncate(n_positions)

    def branch(self, n_positions: int) -> FakeSequence:
        """A sequence of its own that begins with the first `n_positions` of the patched row."""
        return self._patched.branch(n_positions)

    def patched(self) -> FakeSequence:
        """The patched row alone; the clean one is closed."""
        self._clean.close()
        return self._patched

    def close(self) -> None:
        """Free both caches; harmless when closed."""
        self._patched.close()
        self._clean.close()
