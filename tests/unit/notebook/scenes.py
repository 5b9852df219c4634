"""What the tests of scenes share: a clock, clicks as a browser tells of them, and colours."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pythreejs as three
from numpy.typing import NDArray

from livelens.library.live_view import LiveView
from livelens.notebook.layout import build_blocks, rect_of
from livelens.notebook.pace import Later
from livelens.notebook.scene import NetworkScene
from livelens.protocol.components import parse_component

PROMPT = "When Mary and John went to the store"


class FakeTime:
    """A clock that stands still until it is moved, and calls then what was due."""

    def __init__(self) -> None:
        self.now = 100.0
        self._due: list[tuple[float, Callable[[], None]]] = []

    def clock(self) -> float:
        return self.now

    def call_later(self, secs: float, call: Callable[[], None]) -> Later:
        entry = (self.now + secs, call)
        self._due.append(entry)
        due = self._due

        class Entry:
            def cancel(self) -> None:
                if entry in due:
                    due.remove(entry)

        return Entry()

    def move(self, secs: float) -> None:
        self.now += secs
        for entry in [entry for entry in self._due if entry[0] <= self.now + 1e-9]:
            self._due.remove(entry)
            entry[1]()


def click(scene: NetworkScene, x: float, y: float, *, hit: bool = True) -> None:
    """What the browser tells of a click on the sheet at (x, y): in one message, coordinates around the centre."""
    centre = scene.network.centre
    point = [x - centre[0], y - centre[1], 0.0] if hit else [0.0, 0.0, 0.0]
    hit_object = f"IPY_MODEL_{scene.network.plane.model_id}" if hit else None
    scene.picker.set_state({"object": hit_object, "point": point, "modifiers": [False] * 4})


def click_on(scene: NetworkScene, view: LiveView, name: str) -> None:
    rect = rect_of(build_blocks(view.model_info), parse_component(name))
    click(scene, rect.x + 0.6 * rect.w, rect.y + 0.4 * rect.h)


def generated(view: LiveView, scene: NetworkScene) -> None:
    """A short run, its last token shown: no event loop does that here."""
    view.generate(PROMPT, max_new_tokens=3).finish()
    scene.refresh()


def settle(view: LiveView) -> None:
    """Callbacks run while the view is waited for."""
    view.select(view.selection.component, pos=view.selection.pos)


def colours(points: three.Points | three.Mesh) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = points.geometry.attributes["color"].array
    return found
