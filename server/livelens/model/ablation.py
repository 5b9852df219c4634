"""One ablation per batch row: a component's output replaced, by zero or by what it gave on average.

The run's own interventions come first, in every row.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from livelens.model.anatomy import Anatomy
from livelens.model.capture import CaptureSite
from livelens.model.edits import EditSite, Place, SiteEdits
from livelens.model.interventions import SITES
from livelens.model.replaced import Replaced
from livelens.model.replay import Piece
from livelens.protocol.messages import Component

__all__ = [
    "MeanOutputs",
    "Place",
    "Replaced",
    "ablation_edits",
    "place_of",
    "sites_of",
    "span_of",
    "width_of",
]


def place_of(component: Component) -> Place:
    """Where a component's output is: the site and the layer."""
    return SITES[component.kind], component.layer


def span_of(component: Component, anatomy: Anatomy) -> slice:
    """Which of its site's values are a component's."""
    match component.kind:
        case "head":
            d_head = anatomy.shape.d_head
            return slice(component.index * d_head, (component.index + 1) * d_head)
        case "neuron":
            return slice(component.index, component.index + 1)
        case _:
            return slice(None)


def width_of(site: EditSite, anatomy: Anatomy) -> int:
    """How many values a position has at a site."""
    shape = anatomy.shape
    return {"z": shape.n_heads * shape.d_head, "neurons": shape.d_mlp}.get(site, shape.d_model)


@dataclass(slots=True)
class MeanOutputs:
    """What components gave on average over the positions that were added, float32 [width] by site and layer."""

    n_positions: int = 0
    sums: dict[Place, Tensor] = field(default_factory=dict)

    def add(self, piece: Piece, places: Iterable[Place]) -> None:
        """Add a piece's positions (row 0), captured at `places`."""
        self.n_positions += piece.stop - piece.start
        for site, layer in places:
            captured = piece.tensors[site][layer]
            if captured is None:
                raise RuntimeError(f"{site} of layer {layer} was not captured")
            total = captured[0].double().sum(0)
            before = self.sums.get((site, layer))
            self.sums[site, layer] = total if before is None else before + total

    def at(self, place: Place) -> Tensor:
        """The mean output at one place."""
        return (self.sums[place] / self.n_positions).float()


def sites_of(components: Iterable[Component]) -> frozenset[CaptureSite]:
    """The sites where these components' outputs are captured."""
    return frozenset(place_of(component)[0] for component in components)


def ablation_edits(
    rows: Sequence[Component | None], own: SiteEdits, anatomy: Anatomy, *, means: MeanOutputs | None, like: Tensor
) -> SiteEdits:
    """The edits of one forward call whose batch row i has `rows[i]` ablated; none leaves a row alone.

    own: the run's own edits, of one row or for all. means: what to put there; none: zero. like: any
    tensor on the model's device.
    """
    where: dict[Place, Tensor] = {}
    for row, component in enumerate(rows):
        if component is None:
            continue
        place = place_of(component)
        if place not in where:
            size = (len(rows), 1, width_of(place[0], anatomy))
            where[place] = torch.zeros(size, dtype=torch.bool, device=like.device)
        where[place][row, 0, span_of(component, anatomy)] = True
    edits = replace(own, edits=dict(own.edits))
    for place, chosen in where.items():
        value = torch.zeros((), device=like.device) if means is None else means.at(place)
        edits.edits[place] = Replaced(own.edits.get(place), chosen, value)
    return edits
