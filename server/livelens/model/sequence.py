"""One run's key/value cache, alone or with its clean twin's as two rows of one batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from livelens.model.cached_rows import CachedRows, SequenceParts
from livelens.model.caches import copied_cache, paired_cache
from livelens.model.captured import AblateNewest, CapturedTensors, TorchCaptured
from livelens.model.engine import EngineError, TokenSequence
from livelens.model.interventions import InterventionMasks
from livelens.model.operations import Span
from livelens.protocol.messages import Channel, Component


class TorchSequence:
    """`TokenSequence` on a Hugging Face model: a batch of one."""

    def __init__(self, parts: SequenceParts, rows: CachedRows | None = None) -> None:
        self._parts = parts
        self._rows = CachedRows(parts) if rows is None else rows

    @property
    def n_positions(self) -> int:
        """Positions computed so far."""
        return self._rows.n_positions

    def forward(
        self, token_ids: Sequence[int], *, masks: InterventionMasks | None, channels: frozenset[Channel]
    ) -> TorchCaptured:
        """Append `token_ids` under `masks`, capturing what `channels` need.

        Raises EngineError when the context is full or memory runs out; the sequence is then as before.
        """
        tensors = self._rows.forward([token_ids], [masks], channels)
        return _captured(self._parts, tensors, _ablating(self._rows, token_ids[-1], masks))

    def truncate(self, n_positions: int) -> None:
        """Forget every position from `n_positions` on. Raises ValueError for positions it does not have."""
        self._rows.truncate(n_positions)

    def branch(self, n_positions: int) -> TorchSequence:
        """A sequence of its own that begins with the first `n_positions` of this one, which stays as it is.

        The keys and values of both are the same memory: a longer cache is always a new tensor, never a changed one.
        """
        return _branch(self._parts, self._rows, n_positions)

    def paired(self, clean: TokenSequence) -> TorchTwin:
        """See `TokenSequence.paired`."""
        if not isinstance(clean, TorchSequence):
            raise TypeError("only sequences of one engine can be carried as one batch")
        if clean.n_positions != self.n_positions:
            raise ValueError(f"rows of {self.n_positions} and {clean.n_positions} positions make no batch")
        patched, own = self._rows.cache, clean._rows.cache
        if patched is None or own is None:
            raise EngineError("this sequence is closed")
        rows = CachedRows(self._parts, paired_cache(patched, own), n_positions=self.n_positions)
        self.close()
        clean.close()
        return TorchTwin(self._parts, rows)

    def close(self) -> None:
        """Free the cache; harmless when closed."""
        self._rows.close()


class TorchTwin:
    """`TwinSequence` on a Hugging Face model: row 0 under the run's interventions, row 1 under none."""

    def __init__(self, parts: SequenceParts, rows: CachedRows) -> None:
        self._parts = parts
        self._rows = rows

    @property
    def n_positions(self) -> int:
        """Positions computed so far, in both rows."""
        return self._rows.n_positions

    def forward(
        self,
        token_ids: Sequence[int],
        clean_ids: Sequence[int],
        *,
        masks: InterventionMasks | None,
        channels: frozenset[Channel],
    ) -> tuple[TorchCaptured, TorchCaptured]:
        """See `TwinSequence.forward`."""
        tensors = self._rows.forward([token_ids, clean_ids], [masks, None], channels)
        patched = _captured(self._parts, tensors, _ablating(self._rows, token_ids[-1], masks))
        return patched, _captured(self._parts, tensors, None, row=1)

    def truncate(self, n_positions: int) -> None:
        """Forget every position from `n_positions` on, in both rows."""
        self._rows.truncate(n_positions)

    def branch(self, n_positions: int) -> TorchSequence:
        """A sequence of its own that begins with the first `n_positions` of the patched row."""
        return _branch(self._parts, self._rows, n_positions)

    def patched(self) -> TorchSequence:
        """The patched row alone, in memory of its own; this twin is closed."""
        n_positions, cache = self.n_positions, self._rows.cache
        if cache is None:
            raise EngineError("this sequence is closed")
        # Cloned: a view of row 0 would keep row 1's memory for as long as nothing is appended.
        own = copied_cache(cache, n_positions, is_cloned=True) if n_positions else None
        self.close()
        return TorchSequence(self._parts, CachedRows(self._parts, own, n_positions=n_positions))

    def close(self) -> None:
        """Free the cache; harmless when closed."""
        self._rows.close()


def _branch(parts: SequenceParts, rows: CachedRows, n_positions: int) -> TorchSequence:
    """The first `n_positions` of row 0."""
    if not 0 <= n_positions <= rows.n_positions:
        raise ValueError(f"cannot branch off after {n_positions} of {rows.n_positions} positions")
    if rows.cache is None or not n_positions:
        return TorchSequence(parts)
    return TorchSequence(parts, CachedRows(parts, copied_cache(rows.cache, n_positions), n_positions=n_positions))


def _captured(
    parts: SequenceParts, tensors: CapturedTensors, ablate_newest: AblateNewest | None, *, row: int = 0
) -> TorchCaptured:
    return TorchCaptured(
        tensors,
        readout=parts.readout,
        weights=parts.weights,
        lens_thread=parts.lens_thread,
        ablate_newest=ablate_newest,
        row=row,
    )


def _ablating(rows: CachedRows, token_id: int, masks: InterventionMasks | None) -> AblateNewest:
    """`AblateNewest` of the newest position of row 0, until the rows change."""
    return partial(_ablate_newest, rows, rows.n_changes, token_id, masks)


def _ablate_newest(
    rows: CachedRows,
    n_changes: int,
    token_id: int,
    masks: InterventionMasks | None,
    tensors: CapturedTensors,
    components: Sequence[Component],
) -> Tensor | None:
    if rows.cache is None or n_changes != rows.n_changes:
        return None
    pos = rows.n_positions - 1
    return rows.parts.ablated_rows.normed(
        components,
        token_id=token_id,
        n_before=pos,
        cache=copied_cache(rows.cache, pos),
        streams=[stream[0, -1] for stream in tensors.sites["resid"] if stream is not None],
        edits=rows.edits_of([masks]).bound(Span(pos, (token_id,))),
        is_small=rows.parts.is_small,
    )
