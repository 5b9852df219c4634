"""The directions that the server holds for its viewers: by content, bounded, the least recently used let go first."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from livelens.protocol.directions import direction_info
from livelens.protocol.messages import DirectionInfo, PutDirection

MAX_DIRECTIONS: Final = 256


class Directions:
    """What is held, least recently used first."""

    def __init__(self, d_model: int) -> None:
        self._d_model = d_model
        self._held: dict[str, DirectionInfo] = {}

    def use(self, direction_id: str) -> DirectionInfo | None:
        """A direction that is about to be used; none when it is not held."""
        info = self._held.pop(direction_id, None)
        if info is not None:
            self._held[direction_id] = info
        return info

    def hold(self, info: DirectionInfo) -> list[str]:
        """Hold a direction; the ids of those that are let go of."""
        self._held.pop(info.direction_id, None)
        self._held[info.direction_id] = info
        gone = list(self._held)[: max(0, len(self._held) - MAX_DIRECTIONS)]
        for direction_id in gone:
            del self._held[direction_id]
        return gone

    def read(self, command: PutDirection) -> tuple[DirectionInfo, NDArray[np.float32]]:
        """The vector that a viewer sends, and what it is; raises ValueError when it cannot be steered with."""
        if len(command.data) != 4 * self._d_model:
            raise ValueError(
                f"a direction of this model has {self._d_model} float32 values ({4 * self._d_model} bytes), "
                f"got {len(command.data)} bytes"
            )
        vector = np.frombuffer(command.data, "<f4").astype(np.float32)
        return direction_info(vector, name=command.name, recipe=command.recipe, layer=command.layer), vector
