"""What the server holds for its viewers by content, bounded: the least recently used is let go of first."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

MAX_HELD: Final = 256
Info = TypeVar("Info")


class Held(Generic[Info]):
    """What is said of each thing that is held, by its id, least recently used first."""

    def __init__(self) -> None:
        self._held: dict[str, Info] = {}

    def use(self, held_id: str) -> Info | None:
        """One that is about to be used; none when it is not held."""
        info = self._held.pop(held_id, None)
        if info is not None:
            self._held[held_id] = info
        return info

    def hold(self, held_id: str, info: Info) -> list[str]:
        """Hold one; the ids of those that are let go of."""
        self._held.pop(held_id, None)
        self._held[held_id] = info
        gone = list(self._held)[: max(0, len(self._held) - MAX_HELD)]
        for each in gone:
            del self._held[each]
        return gone
