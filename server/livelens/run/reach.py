"""Whether a set can do what it says where it is put in force: positions before that keep what they computed."""

from __future__ import annotations

from collections.abc import Sequence

from livelens.protocol.messages import InterventionSpec
from livelens.run.schedule import Segment


def check_reach(
    interventions: Sequence[InterventionSpec], from_pos: int, segments: Sequence[Segment], *, n_most: int
) -> None:
    """Raise ValueError for an intervention that names positions which a set from `from_pos` on does not reach.

    What was in force there already, the same, may stay in the list. segments: that held before; n_most: the
    positions that the run can have.
    """
    for spec in interventions:
        scope = spec.positions.scope
        if not spec.enabled or scope not in ("range", "all"):
            continue
        start = spec.positions.from_pos
        name = f"intervention {spec.intervention_id!r}"
        if start >= n_most:
            raise ValueError(f"{name}: position {start} is outside the run, which can have positions 0 to {n_most - 1}")
        stop = from_pos if spec.positions.to_pos is None else min(spec.positions.to_pos, from_pos)
        missed = _first_missed(spec, start, stop, segments)
        if missed is not None:
            what = "all positions" if scope == "all" else f"positions from {start} on"
            raise ValueError(
                f"{name} is for {what}, and position {missed} was computed without it: this set holds from position "
                f"{from_pos}. Recompute from position {start}, or choose a later range"
            )


def _first_missed(spec: InterventionSpec, start: int, stop: int, segments: Sequence[Segment]) -> int | None:
    """The first position of start to stop - 1 that was not under this very intervention."""
    bounds = [*(segment.from_pos for segment in segments[1:]), stop]
    for segment, until in zip(segments, bounds, strict=True):
        first = max(segment.from_pos, start)
        if first < min(until, stop) and spec not in segment.interventions:
            return first
    return None
