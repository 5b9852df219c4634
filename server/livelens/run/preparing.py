"""Interventions made ready to be put in force, and the words for what they did to a run that broke."""

from __future__ import annotations

from livelens.model.engine import Captured, Engine
from livelens.model.interventions import InterventionMasks, masks_from
from livelens.protocol.messages import InterventionSpec
from livelens.run.opening import Opening, RefusedError
from livelens.run.reach import check_reach
from livelens.run.resources import RunResources, Surroundings
from livelens.run.schedule import Schedule, Segment


def opening_schedule(engine: Engine, opening: Opening, surroundings: Surroundings | None) -> Schedule:
    """The sets that a run begins with, ready; raises RefusedError for one that names what is not there."""
    known = Surroundings(directions={}) if surroundings is None else surroundings
    resources = RunResources(engine, opening.tokens[: opening.n_prompt], known)

    def make_masks(interventions: list[InterventionSpec]) -> InterventionMasks:
        try:
            return masks_from(interventions, engine.info, resources)
        except ValueError as error:
            raise RefusedError("bad_interventions", str(error)) from error

    schedule = Schedule([Segment(s.from_pos, s.revision, s.interventions) for s in opening.log], make_masks)
    for segment in schedule.segments:
        schedule.masks_of(segment)
    return schedule


def prepare(schedule: Schedule, segment: Segment, *, n_most: int) -> None:
    """Make a segment ready that is about to hold; n_most: positions that the run can have. Raises RefusedError."""
    try:
        check_reach(segment.interventions, segment.from_pos, schedule.segments, n_most=n_most)
    except ValueError as error:
        raise RefusedError("positions_out_of_reach", str(error)) from error
    schedule.masks_of(segment)


def nonfinite_message(captured: Captured, pos: int, *, n_layers: int) -> str:
    """Why no token can be chosen at `pos`, the last position of `captured`."""
    layer = captured.first_nonfinite_layer()
    where = "the logits" if layer is None or layer >= n_layers else f"layer {layer}"
    return (
        f"not a number at position {pos}, first in {where}: no token can be chosen. "
        "Look at the interventions there, or at the weights."
    )
