"""The Python client's directions of the residual stream: made by the server, put, saved and loaded.

calm = await client.contrast(run, positive=["I feel calm"], ...)
await client.set_interventions(run, [steer(calm, amount=1.0)])
save_direction("calm.safetensors", calm, model_info=client.model_info)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from livelens.client.connection import Connection
from livelens.client.errors import LivelensError
from livelens.client.run import ClientRun
from livelens.client.vectors_file import load_vectors, save_vectors
from livelens.protocol.messages import (
    DirectionInfo,
    DirectionReady,
    DirectionRecipe,
    DirectionStored,
    DirectionUnit,
    InterventionSpec,
    ModelInfo,
    Positions,
    PutDirection,
    RequestDirection,
    StreamPlace,
)
from livelens.protocol.tensors import reconstruct

F32 = NDArray[np.float32]
_FORMAT = "livelens direction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Direction:
    """A direction that the server holds, its vector [d_model], and of a contrast how layers separate [n_layers]."""

    info: DirectionInfo
    vector: F32
    separation: F32 | None = None
    accuracy: F32 | None = None


def steer(
    direction: Direction,
    *,
    amount: float = 1.0,
    unit: DirectionUnit = "direction",
    layers: Sequence[int] | None = None,
    positions: Positions | None = None,
    intervention_id: str | None = None,
) -> InterventionSpec:
    """Add `amount` of a direction to the stream after `layers`; none: after the layer where it was read."""
    return InterventionSpec(
        intervention_id=intervention_id or f"steer {direction.info.name}"[:64],
        operation="add_direction",
        components=[],
        amount=amount,
        positions=Positions() if positions is None else positions,
        direction_id=direction.info.direction_id,
        unit=unit,
        stream=_places(direction, layers),
    )


def project_out(
    direction: Direction, *, layers: Sequence[int] | None = None, intervention_id: str | None = None
) -> InterventionSpec:
    """Take what lies along a direction out of the stream after `layers`; none: after the layer where it was read."""
    return InterventionSpec(
        intervention_id=intervention_id or f"without {direction.info.name}"[:64],
        operation="project_out",
        components=[],
        direction_id=direction.info.direction_id,
        stream=_places(direction, layers),
    )


def _places(direction: Direction, layers: Sequence[int] | None) -> list[StreamPlace]:
    if layers is None:
        if direction.info.layer is None:
            raise LivelensError("no_layer", f"{direction.info.name} was read at no layer: say after which it acts")
        layers = [direction.info.layer]
    return [StreamPlace(layer) for layer in layers]


def save_direction(path: str | Path, direction: Direction, *, model_info: ModelInfo) -> None:
    """Write safetensors: `direction` float32 [d_model], and in the metadata what made it, of which model."""
    facts = {
        "name": direction.info.name,
        "recipe": msgspec.json.encode(direction.info.recipe).decode(),
        "layer": "" if direction.info.layer is None else str(direction.info.layer),
    }
    save_vectors(path, {"direction": direction.vector}, _FORMAT, facts, model_info)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedDirection:
    """A direction as a file has it, and of which model."""

    name: str
    recipe: DirectionRecipe
    layer: int | None
    vector: F32
    model_name: str
    weights_sha256: str


def load_direction(path: str | Path) -> SavedDirection:
    """Read what `save_direction` wrote; raises LivelensError for any other file."""
    vectors, facts = load_vectors(path, ("direction",), _FORMAT, "no direction of livelens")
    try:
        return SavedDirection(
            name=facts["name"],
            recipe=msgspec.json.decode(facts["recipe"], type=DirectionRecipe),
            layer=int(facts["layer"]) if facts["layer"] else None,
            vector=vectors["direction"],
            model_name=facts["model_name"],
            weights_sha256=facts["weights_sha256"],
        )
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        raise LivelensError("bad_file", f"{path} holds no direction of livelens: {error}") from error


class Directions:
    """Base of `Client`: directions of the server that it is connected to. All raise LivelensError."""

    _connection: Connection

    async def put_direction(
        self,
        vector: NDArray[np.floating],
        *,
        name: str,
        recipe: DirectionRecipe | None = None,
        layer: int | None = None,
    ) -> Direction:
        """Have the server hold a vector [d_model]; equal vectors are one direction."""
        values = np.ascontiguousarray(vector, "<f4")
        answer = await self._connection.ask(
            PutDirection(
                request_id=self._connection.request_id(),
                name=name,
                data=values.tobytes(),
                recipe=DirectionRecipe(kind="put") if recipe is None else recipe,
                layer=layer,
            ),
            DirectionStored,
        )
        return Direction(info=answer.direction, vector=values.astype(np.float32))

    async def put_saved(self, saved: SavedDirection) -> Direction:
        """Have the server hold a direction from a file."""
        return await self.put_direction(saved.vector, name=saved.name, recipe=saved.recipe, layer=saved.layer)

    async def make_direction(self, run: ClientRun, recipe: DirectionRecipe, *, name: str = "") -> Direction:
        """Have the server make a direction; `run` is the one that heads and axes are read in."""
        question = RequestDirection(
            request_id=self._connection.request_id(), run_id=run.run_id, recipe=recipe, name=name
        )
        answer = await self._connection.ask(question, DirectionReady)
        return Direction(
            info=answer.direction,
            vector=reconstruct(answer.vector).astype(np.float32),
            separation=None if answer.separation is None else reconstruct(answer.separation).astype(np.float32),
            accuracy=None if answer.accuracy is None else reconstruct(answer.accuracy).astype(np.float32),
        )

    async def contrast(
        self,
        run: ClientRun,
        *,
        positive: Sequence[str],
        negative: Sequence[str],
        layer: int | None = None,
        name: str = "",
    ) -> Direction:
        """The difference of means of two lists of prompts; layer none: that which separates held-out prompts best."""
        recipe = DirectionRecipe(kind="contrast", layer=layer, positive=list(positive), negative=list(negative))
        return await self.make_direction(run, recipe, name=name)
