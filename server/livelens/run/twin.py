"""A run's rows: its own sequence, alone, or as one batch with its clean twin, on which no intervention acts.

For as long as no intervention has held and both texts are the same, the rows are the same memory and one is
computed for both. Where they part, the clean row becomes a row of its own: from the shared prefix on its past is
computed, in pieces, if the run has gone further already; from then on one forward call extends both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from livelens.model.engine import Captured, TokenSequence, TwinSequence
from livelens.model.interventions import InterventionMasks
from livelens.protocol.messages import Channel, ModelInfo, Sampling, TwinMode
from livelens.run.readout import CleanPosition, chunk_length
from livelens.run.sampler import Sampler
from livelens.run.schedule import Schedule


@dataclass(frozen=True, slots=True)
class Forwarded:
    """One forward call. clean: the same object where both rows are the same; none where no twin is carried."""

    patched: Captured
    clean: Captured | None


class TwinRows:
    """The sequences of one run. `tokens` is the run's own list, which it goes on changing."""

    def __init__(
        self,
        sequence: TokenSequence,
        *,
        info: ModelInfo,
        schedule: Schedule,
        tokens: list[int],
        n_prompt: int,
        sampling: Sampling,
        eos_ids: frozenset[int],
    ) -> None:
        self.mode: TwinMode = "off"
        self.from_pos: int | None = None  # first position that both are carried from
        self._info = info
        self._schedule = schedule
        self._tokens = tokens
        self._n_prompt = n_prompt
        self._sampling = sampling
        self._eos_ids = eos_ids
        self._single = sequence
        self._pair: TwinSequence | None = None  # in place of `_single`, where there is one
        self._past: TokenSequence | None = None  # the clean row while it is brought up
        self._own: list[int] | None = None  # the clean text, where it chooses for itself
        self._has_ended = False  # the clean text; positions after it have no twin
        self._n_equal = 0  # leading tokens of both texts known to be the same
        self._sampler = Sampler(sampling)

    @property
    def n_positions(self) -> int:
        """Positions computed so far."""
        return self._single.n_positions if self._pair is None else self._pair.n_positions

    @property
    def is_behind(self) -> bool:
        """The clean row's past is still to be computed before the next position can be."""
        start = self.n_positions
        if not self._parts_at(start) or self._pair is not None:
            return False
        return (min(self._same_to, start) if self._past is None else self._past.n_positions) < start

    def set_mode(self, mode: TwinMode) -> None:
        """Carry a twin from the next position on, or none. What both have in common is kept."""
        if mode == self.mode:
            return
        before = None if self.mode == "off" else self._clean_text
        self.mode, self._has_ended, self._n_equal, self._own = mode, False, 0, None
        if mode == "free_running":
            self._own = list(self._tokens)
            self._sampler = Sampler(self._sampling)
            self._sampler.skip(len(self._tokens) - self._n_prompt)
        n_positions = self.n_positions
        if mode == "off":
            self.let_go_of_clean()
            self.from_pos = None
        elif before is None or before[:n_positions] != self._tokens[:n_positions]:
            self.let_go_of_clean()
            self.from_pos = n_positions

    def carries(self, pos: int) -> bool:
        """A twin is carried at `pos`, which is not computed yet."""
        return self.mode != "off" and not (self._has_ended and pos >= len(self._clean_text))

    def end_of_piece(self, start: int, end: int) -> int:
        """Where a forward call from `start` towards `end` must stop: for its memory, and to be carried in one way."""
        parts = self._parts_at(start)
        end = min(end, start + chunk_length(self._info, start, n_rows=2 if parts else 1))
        if not self.carries(start):
            return end
        stops = [self._same_to, *([len(self._clean_text)] if self._has_ended else [])]
        return min([end, *(stop for stop in stops if start < stop)])

    def bring_up(self) -> bool:
        """Compute one piece of the clean row's past; false where nothing is lacking. Raises what the engine raises."""
        start = self.n_positions
        if not self._parts_at(start) or self._pair is not None:
            return False
        if self._past is None:
            self._past = self._single.branch(min(self._same_to, start))
        begin = self._past.n_positions
        if begin < start:
            end = min(start, begin + chunk_length(self._info, begin))
            self._past.forward(self._clean_text[begin:end], masks=None, channels=frozenset())
            return True
        self._pair, self._past = self._single.paired(self._past), None
        return False

    def forward(
        self, start: int, end: int, *, masks: InterventionMasks | None, channels: frozenset[Channel]
    ) -> Forwarded:
        """Compute the positions `start` to `end` - 1, after `bring_up` and within `end_of_piece`."""
        token_ids = self._tokens[start:end]
        if not self._parts_at(start):
            captured = self._alone().forward(token_ids, masks=masks, channels=channels)
            return Forwarded(captured, captured if self.carries(start) else None)
        if self._pair is None:
            raise RuntimeError("the clean row was not brought up")
        clean_ids = self._clean_text[start:end]
        return Forwarded(*self._pair.forward(token_ids, clean_ids, masks=masks, channels=channels))

    def choose(self, clean: Captured | None) -> None:
        """After the run has chosen: let the clean row choose its own next token, where it does."""
        if self._own is None or self._has_ended or clean is None:
            return
        if not np.isfinite(clean.logits).all():
            self._has_ended = True
            return
        chosen_id = self._sampler.choose(clean.logits)
        if self._sampling.stop_at_eos and chosen_id in self._eos_ids:
            self._has_ended = True
        else:
            self._own.append(chosen_id)

    def clean_position(self, pos: int, captured: Captured | None) -> CleanPosition | None:
        """The clean row at `pos`, of a forward call's `clean`."""
        if captured is None:
            return None
        text = self._clean_text
        return CleanPosition(captured, text[pos], text[pos + 1] if pos + 1 < len(text) else None)

    def truncate(self, n_positions: int) -> None:
        """Forget every position from `n_positions` on; both rows are carried from there, where a twin is."""
        held = self._single if self._pair is None else self._pair
        held.truncate(n_positions)
        if self._past is not None and self._past.n_positions > n_positions:
            self._past.truncate(n_positions)
        if self.from_pos is not None:
            self.from_pos = min(self.from_pos, n_positions)

    def restart(self) -> None:
        """The generated tokens are dropped, of both texts."""
        self._n_equal = 0
        if self._own is not None:
            del self._own[self._n_prompt :]
            self._has_ended = False
            self._sampler.restart()

    def branch(self, n_positions: int) -> TokenSequence:
        """A sequence that begins with the first `n_positions` of the run's own row."""
        held = self._single if self._pair is None else self._pair
        return held.branch(n_positions)

    def let_go_of_clean(self) -> None:
        """Free the clean row; where it is needed again it is brought up again."""
        self._past = None
        self._alone()

    def close(self) -> None:
        """Free every cache; harmless when closed."""
        self._past = None
        held = self._single if self._pair is None else self._pair
        held.close()

    @property
    def _clean_text(self) -> list[int]:
        return self._tokens if self._own is None else self._own

    def _parts_at(self, pos: int) -> bool:
        """At this position the twin is another row than the run's own."""
        return self.carries(pos) and pos >= self._same_to

    @property
    def _same_to(self) -> int:
        """The first position at which the rows may differ, by an intervention or by their tokens."""
        changed = self._schedule.first_change
        same_to = self._info.n_ctx if changed is None else changed
        if self._own is None:
            return same_to
        n_both = min(len(self._own), len(self._tokens))
        while self._n_equal < n_both and self._own[self._n_equal] == self._tokens[self._n_equal]:
            self._n_equal += 1
        return same_to if self._n_equal >= n_both else min(same_to, self._n_equal)

    def _alone(self) -> TokenSequence:
        if self._pair is not None:
            self._single, self._pair = self._pair.patched(), None
        return self._single
