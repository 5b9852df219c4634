"""Positions that were computed and wait to be read out, within a memory budget."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Final

from livelens.model.engine import Captured
from livelens.protocol.messages import Channel, ModelInfo

# Captures of forward calls that may wait to be read out, and of one such call.
CAPTURE_BUDGET_BYTES: Final = 512 * 1024 * 1024
_CHUNK_BUDGET_BYTES: Final = CAPTURE_BUDGET_BYTES // 4
_CHUNK_POSITIONS: Final = 256


@dataclass(frozen=True, slots=True)
class CleanPosition:
    """The clean twin at a position; `captured` has it at the same index. chosen_id: none where its text ends."""

    captured: Captured
    token_id: int
    chosen_id: int | None


@dataclass(frozen=True, slots=True)
class UnreadPosition:
    """One position of a forward call; `channels` are those that the call captured. clean: none without a twin."""

    captured: Captured
    index: int
    pos: int
    chosen_id: int
    revision: int
    channels: frozenset[Channel]
    clean: CleanPosition | None = None

    @property
    def n_rows(self) -> int:
        """Rows of captures that it keeps alive."""
        return 1 if self.clean is None or self.clean.captured is self.captured else 2


def position_bytes(info: ModelInfo, pos: int) -> int:
    """Memory that capturing position `pos` takes, all channels, bytes."""
    per_layer = info.d_mlp + info.n_heads * (pos + 1) + info.n_heads * info.d_head + 4 * info.d_model
    return 4 * info.n_layers * per_layer


def chunk_length(info: ModelInfo, start: int, *, n_rows: int = 1) -> int:
    """Positions to compute in one forward call of `n_rows` from `start` on.

    Independent of the channels, so that what a viewer looks at changes no rounding.
    """
    return max(
        1, min(_CHUNK_POSITIONS, _CHUNK_BUDGET_BYTES // (n_rows * position_bytes(info, start + _CHUNK_POSITIONS)))
    )


class Readout:
    """Two lines of waiting positions: those never reported, and those that lack their logit lens."""

    def __init__(self, info: ModelInfo) -> None:
        self._info = info
        self._unread: OrderedDict[int, UnreadPosition] = OrderedDict()
        self._lens: OrderedDict[int, UnreadPosition] = OrderedDict()
        self._asked: list[int] = []
        self._n_bytes = 0

    @property
    def has_asked(self) -> bool:
        """A position that somebody looks at waits for its logit lens."""
        return bool(self._asked)

    @property
    def has_unread(self) -> bool:
        """Some position was never reported."""
        return bool(self._unread)

    @property
    def has_lens(self) -> bool:
        """Some position lacks its logit lens."""
        return bool(self._lens)

    @property
    def is_over_budget(self) -> bool:
        """More waits than memory allows."""
        return self._n_bytes > CAPTURE_BUDGET_BYTES and bool(self._unread or self._lens)

    def share(self, n_positions: int) -> Readout:
        """Another readout, in which the same of the first `n_positions` wait, without their twins."""
        other = Readout(self._info)
        for pos, unread in self._unread.items():
            if pos < n_positions:
                other.add(replace(unread, clean=None))
        for pos, unread in self._lens.items():
            if pos < n_positions:
                other.keep_for_lens(unread)
        return other

    def add(self, unread: UnreadPosition) -> None:
        """A position that was computed just now."""
        self._unread[unread.pos] = unread
        self._n_bytes += self._size(unread)

    def take(self, pos: int) -> UnreadPosition | None:
        """This position, out of turn; none when it does not wait."""
        self._asked = [asked for asked in self._asked if asked != pos]
        unread = self._unread.pop(pos, None)
        if unread is not None:
            self._n_bytes -= self._size(unread)
        return unread

    def next_unread(self) -> UnreadPosition:
        """The oldest position never reported."""
        unread = self._unread.pop(min(self._unread))
        self._n_bytes -= self._size(unread)
        return unread

    def keep_for_lens(self, unread: UnreadPosition) -> None:
        """Its logit lens is still to come; its twin, which has none, was told."""
        unread = replace(unread, clean=None)
        self._lens[unread.pos] = unread
        self._n_bytes += self._size(unread)

    def prefer_lens(self, positions: list[int]) -> None:
        """These before all others, in this order; those that do not wait are passed over."""
        asked = dict.fromkeys([*positions, *self._asked])
        self._asked = [pos for pos in asked if pos in self._lens or pos in self._unread]

    def next_asked(self) -> tuple[UnreadPosition, bool]:
        """The next position asked for, and whether it was reported before."""
        pos = self._asked.pop(0)
        was_reported = pos in self._lens
        unread = (self._lens if was_reported else self._unread).pop(pos)
        self._n_bytes -= self._size(unread)
        return unread, was_reported

    def next_lens(self) -> UnreadPosition:
        """The next position that lacks its logit lens."""
        _, unread = self._lens.popitem(last=False)
        self._n_bytes -= self._size(unread)
        return unread

    def drop_lens(self) -> None:
        """Give up the lens of waiting positions: their captures are too big to keep."""
        self._n_bytes -= sum(self._size(unread) for unread in self._lens.values())
        self._lens.clear()
        self._asked = [pos for pos in self._asked if pos in self._unread]

    def drop_from(self, from_pos: int) -> None:
        """Forget positions from `from_pos` on."""
        self._asked = [pos for pos in self._asked if pos < from_pos]
        for line in (self._unread, self._lens):
            for pos in [pos for pos in line if pos >= from_pos]:
                self._n_bytes -= self._size(line.pop(pos))

    def clear(self) -> None:
        """Forget everything."""
        self.drop_from(0)

    def _size(self, unread: UnreadPosition) -> int:
        return unread.n_rows * position_bytes(self._info, unread.pos)
