"""Positions that were computed, told as steps: at once, or when their turn comes."""

from __future__ import annotations

from collections.abc import Iterable

from livelens.protocol.messages import Channel
from livelens.run.readout import Readout, UnreadPosition
from livelens.run.steps import EmitStep, StepMaker

_LENS: frozenset[Channel] = frozenset(("logit_lens",))


class Reporter:
    """Tells the steps of one run. `tokens` is the run's own list, which it goes on changing."""

    def __init__(self, readout: Readout, step_maker: StepMaker, emit_step: EmitStep, tokens: list[int]) -> None:
        self.newest_first: int | None = None  # after a rewind the newest position is told before the rest
        self._readout = readout
        self._step_maker = step_maker
        self._emit_step = emit_step
        self._tokens = tokens

    @property
    def has_unread(self) -> bool:
        """Positions that were computed and not yet told."""
        return self._readout.has_unread

    @property
    def has_asked(self) -> bool:
        """A position that somebody looks at waits for its logit lens."""
        return self._readout.has_asked

    @property
    def has_lens(self) -> bool:
        """Positions whose logit lens was not computed yet."""
        return self._readout.has_lens

    def tell(self, unread: UnreadPosition, *, channels: frozenset[Channel], text_delta: str = "") -> None:
        """Tell a position now."""
        token_id = self._tokens[unread.pos]
        self._emit_step(self._step_maker.step(unread, token_id, channels=channels, text_delta=text_delta))

    def tell_later(self, waiting: Iterable[UnreadPosition]) -> None:
        """Keep positions until their turn comes; the newest of a rewind is told now."""
        for unread in waiting:
            self._readout.add(unread)
            if unread.pos == self.newest_first:
                self.newest_first = None
                newest = self._readout.take(unread.pos)
                if newest is not None:
                    self._tell_unread(newest)
        while self._readout.is_over_budget:  # a very long prompt: memory before latency
            self._readout.drop_lens()
            if self._readout.has_unread:
                self.tell_one()

    def tell_one(self) -> None:
        """A position that waits: one that somebody asked for, else the oldest."""
        if self._readout.has_asked:
            self._tell_asked()
        else:
            self._tell_unread(self._readout.next_unread())

    def tell_one_lens(self) -> None:
        """One position's logit lens."""
        if self._readout.has_asked:
            self._tell_asked()
        else:
            self.tell(self._readout.next_lens(), channels=_LENS)

    def prefer_lens(self, positions: list[int]) -> None:
        """Compute these positions' logit lens before other idle work."""
        self._readout.prefer_lens(positions)

    def drop_lens(self) -> None:
        """Give up the lens of waiting positions."""
        self._readout.drop_lens()

    def drop_from(self, from_pos: int) -> None:
        """Forget positions from `from_pos` on."""
        self._readout.drop_from(from_pos)

    def share(self, n_positions: int) -> Readout:
        """What of the first `n_positions` waits, for a fork."""
        return self._readout.share(n_positions)

    def clear(self) -> None:
        """Forget everything."""
        self._readout.clear()

    def _tell_asked(self) -> None:
        unread, was_told = self._readout.next_asked()
        self.tell(unread, channels=_LENS if was_told else unread.channels)

    def _tell_unread(self, unread: UnreadPosition) -> None:
        # All that was captured, also when the only viewer has hidden its tab meanwhile: it will come back.
        self.tell(unread, channels=unread.channels - _LENS)
        if "logit_lens" in unread.channels:
            self._readout.keep_for_lens(unread)
