"""Which intervention set holds at which position."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from livelens.model.engine import ContextSegment
from livelens.model.interventions import InterventionMasks
from livelens.protocol.messages import InterventionSpec


@dataclass(slots=True)
class Segment:
    """One set and the first position under it; its masks are made when a forward call needs them."""

    from_pos: int
    revision: int
    interventions: list[InterventionSpec]
    masks: InterventionMasks | None = None


class Schedule:
    """Segments ascending by from_pos, the first from 0, so every position is under exactly one set."""

    def __init__(
        self, opening: Sequence[Segment], make_masks: Callable[[list[InterventionSpec]], InterventionMasks]
    ) -> None:
        """opening: in the order in which they were set, the first from position 0."""
        self._segments: list[Segment] = []
        self._make_masks = make_masks
        for segment in opening:
            self.replace_from(segment)

    @property
    def revision(self) -> int:
        """Revision of the set that was added last."""
        return self._segments[-1].revision

    def replace_from(self, segment: Segment) -> None:
        """From `segment.from_pos` on its set holds, and none that was set for later."""
        self._segments = [kept for kept in self._segments if kept.from_pos < segment.from_pos]
        self._segments.append(segment)

    def at(self, pos: int) -> Segment:
        """The segment that holds at `pos`."""
        return next(segment for segment in reversed(self._segments) if segment.from_pos <= pos)

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All of them, ascending by from_pos."""
        return tuple(self._segments)

    @property
    def first_change(self) -> int | None:
        """The first position that is under masks; none where none is."""
        return next((s.from_pos for s in self._segments if self.masks_of(s) is not None), None)

    def masks_at(self, pos: int) -> InterventionMasks | None:
        """The masks at `pos`; none when they change nothing."""
        return self.masks_of(self.at(pos))

    def masks_of(self, segment: Segment) -> InterventionMasks | None:
        """A segment's masks; none when they change nothing."""
        if segment.masks is None:
            segment.masks = self._make_masks(segment.interventions)
        return None if segment.masks.changes_nothing else segment.masks

    def context(self) -> tuple[ContextSegment, ...]:
        """All of them, for a question about the run."""
        return tuple(
            ContextSegment(from_pos=segment.from_pos, revision=segment.revision, masks=self.masks_of(segment))
            for segment in self._segments
        )

    def end_of_segment(self, pos: int) -> int | None:
        """The first position after `pos` under another set; none when this set holds for good."""
        return next((segment.from_pos for segment in self._segments if segment.from_pos > pos), None)
