"""The cache of the run last looked into: looking at one token after another costs one token each."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from transformers.cache_utils import Cache

from livelens.analysis.progress import Work
from livelens.model.caches import new_cache, prefix_cache
from livelens.model.capture import CaptureSite
from livelens.model.edits import SiteEdits
from livelens.model.engine import AnalysisContext
from livelens.model.frozen import MaskSegment
from livelens.model.operations import Span
from livelens.model.replay import (
    ModelParts,
    Piece,
    check_tokens,
    masks_at,
    own_edits,
    run_piece,
    stretches,
    tokens_per_piece,
)
from livelens.protocol.messages import AnalysisProgress

# What decides a position's keys and values, given those before it: its token, and the set that held there.
_Stamp = tuple[int, str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LookedInto:
    """One position computed again, alone: tensors are [1, 1, ...]. `edits`: what the run had switched there."""

    piece: Piece
    edits: SiteEdits


class KeptPrefix:
    """One run's keys and values as far as they were asked for. For the model thread only; `drop` frees them."""

    def __init__(self, parts: ModelParts) -> None:
        self._parts = parts
        self._stamps: list[_Stamp] = []
        self._cache: Cache | None = None

    def drop(self) -> None:
        """Let go of what is kept."""
        self._stamps, self._cache = [], None

    def look(
        self, pos: int, context: AnalysisContext, work: Work, *, sites: frozenset[CaptureSite]
    ) -> Generator[AnalysisProgress, None, LookedInto]:
        """The run's position `pos`, with `sites` and the residual stream captured. Raises EngineError."""
        parts, segments = self._parts, mask_segments(context)
        check_tokens(parts, context.token_ids[: pos + 1])
        cache = yield from self._filled(pos, context, work)
        token_ids = context.token_ids[pos : pos + 1]
        edits = own_edits(parts, masks_at(segments, pos)).bound(Span(pos, token_ids))
        before = prefix_cache(cache, parts.anatomy.shape.n_layers, n_positions=pos, keeps_rows=False)
        piece = run_piece(parts, token_ids, start=pos, cache=before, edits=edits, sites=sites)
        return LookedInto(piece=piece, edits=edits)

    def _filled(
        self, n_positions: int, context: AnalysisContext, work: Work
    ) -> Generator[AnalysisProgress, None, Cache]:
        """A cache of at least the run's first `n_positions`, of which only what is new is computed."""
        parts, segments = self._parts, mask_segments(context)
        wanted = _stamps(work.question.run_id, context, n_positions)
        n_kept = _n_common(self._stamps, wanted)
        cache = self._cache
        if cache is None or n_kept < min(len(self._stamps), n_positions):
            n_layers = parts.anatomy.shape.n_layers
            cache = new_cache() if cache is None else prefix_cache(cache, n_layers, n_positions=n_kept, keeps_rows=True)
            self._cache, self._stamps = cache, wanted[:n_kept]
        pieces = [
            (max(stretch.start, n_kept), stretch.stop, stretch.masks)
            for stretch in stretches(segments, n_positions, longest=tokens_per_piece(parts))
            if stretch.stop > n_kept
        ]
        work.expect(len(pieces))
        for start, stop, masks in pieces:
            try:
                run_piece(
                    parts,
                    context.token_ids[start:stop],
                    start=start,
                    cache=cache,
                    edits=own_edits(parts, masks),
                )
            except BaseException:
                self.drop()  # some layers may have got further than others
                raise
            self._stamps = wanted[:stop]
            yield work.step()
        return cache


def mask_segments(context: AnalysisContext) -> list[MaskSegment]:
    """The run's own interventions, by the position they hold from."""
    return [MaskSegment(from_pos=segment.from_pos, masks=segment.masks) for segment in context.segments]


def _stamps(run_id: str, context: AnalysisContext, n_positions: int) -> list[_Stamp]:
    marks = [("", 0)] * n_positions
    for segment in context.segments:
        # Runs without interventions share what they have in common; a revision is named within its run.
        mark = ("", 0) if segment.masks is None else (run_id, segment.revision)
        marks[segment.from_pos :] = [mark] * max(0, n_positions - segment.from_pos)
    return [(token_id, *mark) for token_id, mark in zip(context.token_ids, marks, strict=False)]


def _n_common(kept: list[_Stamp], wanted: list[_Stamp]) -> int:
    """How many leading entries are the same."""
    return next((i for i, (a, b) in enumerate(zip(kept, wanted, strict=False)) if a != b), min(len(kept), len(wanted)))
