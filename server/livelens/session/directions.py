"""The directions that the server holds for its viewers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from livelens.protocol.directions import direction_info
from livelens.protocol.messages import DirectionInfo, PutDirection
from livelens.session.held import MAX_HELD, Held

MAX_DIRECTIONS = MAX_HELD


class Directions(Held[DirectionInfo]):
    """What is held, and what of a viewer's vectors can be."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self._d_model = d_model

    def read(self, command: PutDirection) -> tuple[DirectionInfo, NDArray[np.float32]]:
        """The vector that a viewer sends, and what it is; raises ValueError when it cannot be steered with."""
        vector = floats_of("a direction", command.data, self._d_model)
        return direction_info(vector, name=command.name, recipe=command.recipe, layer=command.layer), vector


def floats_of(what: str, data: bytes, size: int) -> NDArray[np.float32]:
    """`size` numbers that a viewer sends; raises ValueError for more or fewer."""
    if len(data) != 4 * size:
        raise ValueError(f"{what} of this model has {size} float32 values ({4 * size} bytes), got {len(data)} bytes")
    return np.frombuffer(data, "<f4").astype(np.float32)
