"""`view.scene()`: the network as a widget that follows a view, and that the view follows.

What a step brings comes on the thread of the cells (see `LiveView.on_step`), and widgets are changed there and
nowhere else. Clicks may come on another one: a kernel can hear of them while a cell runs.
"""

from __future__ import annotations

import base64
import contextlib
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Final, Literal, TypedDict
from weakref import WeakKeyDictionary

import ipywidgets
import numpy as np
import pythreejs as three

from livelens.client import LivelensError, StepData
from livelens.notebook.camera import Pose, fit_pose, whole_network
from livelens.notebook.colours import Display
from livelens.notebook.displayed import DisplayedPicture
from livelens.notebook.heard import heard
from livelens.notebook.layout import F64, Theme, build_blocks, component_at, picture, rect_of
from livelens.notebook.network import NetworkObjects, camera_at
from livelens.notebook.pace import CallLater, Pace
from livelens.notebook.panel import Panel
from livelens.notebook.sheet import Sheet, colour_sheet, node_at
from livelens.notebook.still import still_png
from livelens.notebook.words import attribution_table, component_line, header, node_line
from livelens.protocol.components import component_id

if TYPE_CHECKING:
    from livelens.library.live_view import LiveView, Selection

MAX_UPDATES_PER_SEC: Final = 15
MAX_BYTES_PER_SEC: Final = 6_000_000  # of neurons' colours: 2.3 million neurons are shown once a second
_SAME_GESTURE_SECS: Final = 0.5
_IN_WORDS: Final = (
    "livelens: the network as a widget where widgets can be shown, else as a picture; view.show() is the whole page"
)
_STILL_SHARE: Final = 0.75  # of the widget's size: enough for a file
ViewName = Literal["three_quarter", "front"]


class SceneOptions(TypedDict, total=False):
    """What `view.scene` takes.

    display: sizes of activations, or signed direct contributions (the channel `direct_logit` must be generated with).
    width, height: CSS pixels. clock, call_later: seconds, and how to be called then; for tests.
    """

    display: Display
    theme: Theme
    look_from: ViewName
    width: int
    height: int
    clock: Callable[[], float]
    call_later: CallLater


class NetworkScene(ipywidgets.VBox):  # type: ignore[misc] # ipywidgets has no types
    """A widget: the text, the network in 3D, and what is known of the selected component.

    Drag turns, the wheel zooms, a click selects. `close` ends it; several may follow one view.
    """

    _ends: tuple[Callable[[], None], ...] = ()  # what the view is told at the end; none before the beginning

    def __init__(
        self,
        view: LiveView,
        *,
        display: Display = "activation",
        theme: Theme = "dark",
        look_from: ViewName = "three_quarter",
        width: int = 960,
        height: int = 420,
        clock: Callable[[], float] | None = None,
        call_later: CallLater | None = None,
    ) -> None:
        view.background()  # raises where the view is closed
        self._view = view
        self._display: Display = display
        self._theme: Theme = theme
        self._size = (width, height)
        self._blocks = build_blocks(view.model_info)
        self._step: StepData | None = None
        self._newest: StepData | None = None
        self._tokens: dict[int, str] = {}
        self._node: int | None = None
        self._question = 0
        self._clock = time.monotonic if clock is None else clock
        self._sheet = self._colours()
        interval = max(1 / MAX_UPDATES_PER_SEC, self._sheet.neuron_colours.nbytes / MAX_BYTES_PER_SEC)
        self._pace = Pace(self.refresh, interval_secs=interval, clock=self._clock, call_later=call_later)
        self._pose = fit_pose(whole_network(self._blocks), look_from, width / height)
        self.network = NetworkObjects(self._sheet, theme, self._pose.target)
        self._make_renderer()
        self._header = ipywidgets.HTML()
        self.panel = Panel(on_ablate=self._toggle_ablation, on_explain=self._explain)
        self._picture = DisplayedPicture(self._repr_mimebundle_, before=self._cell_ended)
        super().__init__([self._header, self.renderer, self.panel.box])
        self._ends = (view.on_step(self._take), view.on_selection(self._selected))
        self._catch_up()

    def _make_renderer(self) -> None:
        width, height = self._size
        background = picture()["ground"][self._theme]["background"]
        self.camera = heard(camera_at(self._pose, width / height))
        self.controls = heard(
            three.OrbitControls(
                controlling=self.camera, minDistance=0.3, maxDistance=120, rotateSpeed=0.35, zoomSpeed=0.6
            )
        )
        self.picker = heard(three.Picker(controlling=self.network.plane, event="click"))
        self._facing = self._direction()
        self._turned_at = -math.inf
        self.camera.observe(self._camera_moved, names=["position"])
        self.controls.observe(self._target_moved, names=["target"])
        self.picker.observe(self._picked, names=["modifiers"])
        self.renderer = three.Renderer(
            scene=three.Scene(children=[self.network.group, self.camera], background=background),
            camera=self.camera,
            controls=[self.controls, self.picker],
            antialias=True,
            width=width,
            height=height,
        )

    # ------------------------------------------------------------------ following the view

    def _catch_up(self) -> None:
        """What the view has generated already."""
        with contextlib.suppress(LivelensError):  # nothing was generated yet
            for step in self._view.steps:
                self._keep(step)
        self.refresh()
        self._selected(self._view.selection)

    def _take(self, step: StepData) -> None:
        self._keep(step)
        self._pace.ask()

    def _keep(self, step: StepData) -> None:
        newest = self._newest
        if newest is None or step.info.run_id != newest.info.run_id:
            self._tokens.clear()
            newest = None
        # A prompt is told after the token that it led to; what is computed again replaces what was
        if newest is None or step.pos >= newest.pos or step.info.revision > newest.info.revision:
            self._newest = step
        self._tokens[step.pos] = step.text

    def refresh(self) -> None:
        """Show what there is now, at once; done by itself at most 15 times a second."""
        self._step = self._wanted_step()
        self._sheet = self._colours()
        self.network.show(self._sheet)
        self._header.value = header(self._step, self._tokens)
        self._say()
        self._picture.is_old = True

    def _cell_ended(self) -> None:
        """A cell may have ablated something with no token generated since."""
        if self._view.ablated != self._ablated:
            self.refresh()

    def _wanted_step(self) -> StepData | None:
        """The one whose position is selected, else the newest."""
        pos = self._view.selection.pos
        if pos is None or self._newest is None or pos == self._newest.pos:
            return self._newest
        return next((step for step in self._view.steps if step.pos == pos), self._newest)

    def _colours(self) -> Sheet:
        tensors = {} if self._step is None else self._step.tensors
        self._ablated = self._view.ablated
        return colour_sheet(self._blocks, tensors, display=self._display, theme=self._theme, ablated=self._ablated)

    # ------------------------------------------------------------------ selecting

    def _picked(self, _: object) -> None:
        """A click: somewhere on the sheet, or beside it.

        The keys that were held come with it. They are taken back each time, for the page sends only what has changed,
        and a second click on the same place changes nothing else.
        """
        if not self.picker.modifiers:
            return
        self.picker.modifiers = []  # at once, also on another thread: nobody else changes the picker
        if self._clock() - self._turned_at < _SAME_GESTURE_SECS:
            self._turned_at = -math.inf
            return
        x, y = (float(self.picker.point[axis] + self.network.centre[axis]) for axis in (0, 1))
        is_hit = self.picker.object is not None
        component = component_at(self._blocks, x, y) if is_hit else None
        self._node = node_at(self._blocks, x, y) if is_hit and component is None else None
        try:
            self._view.select(component, pos=self._view.selection.pos)
        except LivelensError as error:
            self._on_cells(partial(self.panel.say, error.message))
            return
        if component is None:
            self._on_cells(self._say)

    def _target_moved(self, _: object) -> None:
        """A shift: the camera was told of first, and seemed to have turned."""
        self._facing = self._direction()

    def _camera_moved(self, _: object) -> None:
        """The end of a drag or of a zoom. Browsers report the end of a drag that turned the camera as a click too."""
        facing = self._direction()
        if not np.allclose(facing, self._facing, atol=1e-6):
            self._facing, self._turned_at = facing, self._clock()

    def _direction(self) -> F64:
        """From what the camera turns around to the camera, as the browser last told it."""
        away = np.subtract(self.camera.position, self.controls.target, dtype=np.float64)
        facing: F64 = away / np.linalg.norm(away)
        return facing

    def _selected(self, selection: Selection) -> None:
        component = selection.component
        if component is not None:
            self._node = None
        self.network.mark(None if component is None else rect_of(self._blocks, component))
        if self._wanted_step() is not self._step:
            self._pace.ask()
        self._say()
        self._explain()

    def _say(self) -> None:
        """What is known of what is selected."""
        component = self._view.selection.component
        if component is not None:
            is_ablated = component_id(component) in self._view.ablated
            self.panel.show(component_line(component, self._step, is_ablated=is_ablated), is_ablated=is_ablated)
        else:
            self.panel.show("" if self._node is None else node_line(self._node, self._step), is_ablated=None)

    def _toggle_ablation(self) -> None:
        component = self._view.selection.component
        if component is None:
            return
        try:
            if component_id(component) in self._view.ablated:
                self._view.restore(component)
            else:
                self._view.ablate(component)
        except LivelensError as error:
            self._on_cells(partial(self.panel.say, error.message))
            return
        self._on_cells(self.refresh)

    def _on_cells(self, change: Callable[[], None]) -> None:
        """Widgets are changed on one thread; a view that is closed has nothing to say but that."""
        try:
            self._view.background().call_back(change)
        except LivelensError as error:
            self.panel.say(error.message)

    # ------------------------------------------------------------------ explaining

    def _explain(self) -> None:
        """Ask who fed the selected component at the shown token; a newer question makes an older one void."""
        self._question += 1
        component, step = self._view.selection.component, self._step
        if component is None or step is None:
            self.panel.explain("")
            return
        self.panel.explain("<i>asking what fed it \u2026</i>")
        ask = partial(self._ask, self._question, f"{component_id(component)}@{step.pos}", step.pos)
        # On a thread of its own: a cell that runs, and the kernel, go on meanwhile
        threading.Thread(target=ask, name="livelens-explain", daemon=True).start()

    def _ask(self, question: int, node: str, pos: int) -> None:
        with _asking(self._view):
            if question != self._question:
                return
            try:
                text = attribution_table(self._view.attribution(node=node, pos=pos, progress=_quietly))
            except LivelensError as error:
                text = f"<small>No attribution: {escape(error.message)}</small>"
        self._on_cells(partial(self._explained, question, text))

    def _explained(self, question: int, text: str) -> None:
        if question == self._question:
            self.panel.explain(text)

    # ------------------------------------------------------------------ pictures

    @property
    def pose(self) -> Pose:
        """Where the camera is and what it turns around, as the browser last told it; places of the sheet."""
        centre, target = np.array(self.network.centre), np.array(self.controls.target)
        place = centre + np.array(self.camera.position)
        return Pose(tuple(place.tolist()), tuple((centre + target).tolist()))

    def still(self) -> bytes:
        """What it looks like now, from where the camera is, as a PNG file."""
        width, height = (round(side * _STILL_SHARE) for side in self._size)
        return still_png(self._sheet, self.pose, self._theme, width=width, height=height)

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, object]:
        """The widget, and a picture for where there is none: a saved notebook, an export."""
        bundle: dict[str, object] = super()._repr_mimebundle_(**kwargs) or {}
        bundle["text/plain"] = _IN_WORDS
        bundle["image/png"] = base64.b64encode(self.still()).decode("ascii")
        return bundle

    def _ipython_display_(self) -> None:
        """Show it; the picture that a saved notebook keeps is renewed at the end of each cell that changed it."""
        self._picture.display()

    def close(self) -> None:
        """End it: nothing of it is left in the browser, and the view tells it nothing any more."""
        if self._ends:
            for end in self._ends:
                end()
            self._ends = ()
            self._pace.close()
            self._picture.close()
            for widget in _family(self) - {self}:
                widget.close()
        super().close()


# A newer question of a view makes the older one void: its scenes ask one after the other.
_ASKING: Final[WeakKeyDictionary[LiveView, threading.Lock]] = WeakKeyDictionary()


def _asking(view: LiveView) -> threading.Lock:
    return _ASKING.setdefault(view, threading.Lock())


def _family(root: ipywidgets.Widget) -> set[ipywidgets.Widget]:
    """Every widget that `root` is made of."""
    found, ahead = set(), [root]
    while ahead:
        widget = ahead.pop()
        if widget in found:
            continue
        found.add(widget)
        for name in widget.keys:
            value = getattr(widget, name)
            parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else [value]
            ahead += [part for part in parts if isinstance(part, ipywidgets.Widget)]
    return found


def _quietly(_n_done: int, _n_total: int) -> None:
    """No progress line: it would be in whichever cell runs."""
