"""`view.scene()` without a browser: what it holds, what it sends, and what a click does."""

from __future__ import annotations

import base64
import importlib
import struct
import sys
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import pythreejs as three
from ipywidgets.widgets import widget as widget_module
from numpy.typing import NDArray
from tests.unit.notebook.messages import Messages, messages
from tests.unit.notebook.projected import pixel_of

import livelens
from livelens.client import LivelensError
from livelens.library.live_view import LiveView
from livelens.notebook.camera import VIEWS, fit_pose, whole_network
from livelens.notebook.colours import colour_map, rgb_of
from livelens.notebook.layout import build_blocks, head_places, layer_x, neuron_places, picture, rect_of
from livelens.notebook.pace import Later, Pace
from livelens.notebook.scene import MAX_UPDATES_PER_SEC, NetworkScene
from livelens.protocol.components import parse_component
from livelens.protocol.messages import ModelInfo

__all__ = ["messages"]
PROMPT = "When Mary and John went to the store"


@pytest.fixture
def view() -> Iterator[LiveView]:
    with livelens.view("fake:3x2x24") as opened:
        yield opened


@pytest.fixture
def scene(view: LiveView) -> Iterator[NetworkScene]:
    made = view.scene()
    yield made
    made.close()


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
    scene.picker.set_state({"object": f"IPY_MODEL_{scene.network.plane.model_id}" if hit else None, "point": point})


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


# ---------------------------------------------------------------------- what it holds


def test_every_neuron_and_head_is_a_point_where_the_page_has_it() -> None:
    """The whole network of the shipped model's shape in a few objects."""
    with livelens.view("fake") as view:
        scene = view.scene()
        network, blocks = scene.network, build_blocks(view.model_info)
        neurons = network.neurons.geometry.attributes["position"].array
        heads = network.heads.geometry.attributes["position"].array
        assert neurons.shape == (46_080, 3) and heads.shape == (270, 3)
        assert np.allclose(neurons[:, :2], neuron_places(blocks), atol=1e-5) and not neurons[:, 2].any()
        assert np.allclose(heads[:, :2], head_places(blocks), atol=1e-5)
        assert len(network.group.children) < 30
        assert tuple(network.group.position) == pytest.approx([-part for part in network.centre])
        scene.close()


def colours(points: three.Points | three.Mesh) -> NDArray[np.uint8]:
    found: NDArray[np.uint8] = points.geometry.attributes["color"].array
    return found


def test_colours_are_the_pages_scale_of_the_newest_token(view: LiveView, scene: NetworkScene) -> None:
    dark = colours(scene.network.neurons).copy()
    view.generate(PROMPT, max_new_tokens=5).finish()
    scene.refresh()
    step, ramp = view.steps[-1], colour_map("activation", "dark")
    codes = np.abs(step.tensor("neurons").astype(int)).reshape(-1)
    expected = ramp[np.floor(codes / 127 * 255 + 0.5).astype(int)]
    assert np.array_equal(colours(scene.network.neurons), expected) and not np.array_equal(expected, dark)
    for layer in range(3):  # heads by their layer's largest
        share = step.heads[layer].astype(float) / step.heads[layer].astype(float).max()
        level = np.floor(np.floor(share * 127 + 0.5) / 127 * 255 + 0.5).astype(int)
        assert np.array_equal(colours(scene.network.heads)[2 * layer : 2 * layer + 2], ramp[level])
    assert f"@{step.pos}" in scene.children[0].value and step.text.strip() in scene.children[0].value


def test_signed_contributions_have_the_diverging_scale(view: LiveView) -> None:
    scene = view.scene(display="direct_logit")
    view.generate(PROMPT, max_new_tokens=4, channels=["direct_logit"]).finish()
    scene.refresh()
    step, ramp = view.steps[-1], colour_map("direct_logit", "dark")
    values = step.direct_heads.reshape(-1).astype(float)
    code = np.sign(values) * np.floor(127 * np.sqrt(np.abs(values) / np.abs(values).max()) + 0.5)
    expected = ramp[np.floor((code / 127 / 2 + 0.5) * 255 + 0.5).astype(int)]
    assert np.array_equal(colours(scene.network.heads), expected)
    scene.close()


# ---------------------------------------------------------------------- what it sends


def test_each_buffer_is_sent_once_an_update_whole_and_binary(
    view: LiveView, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never above 15 times a second, however fast tokens come; and the last token is shown."""
    time = FakeTime()
    scene = view.scene(clock=time.clock, call_later=time.call_later)
    time.move(1)
    messages.sent.clear()
    generation = view.generate(PROMPT, max_new_tokens=40)
    for _ in generation:
        time.move(0.01)  # a hundred a second
    time.move(1)
    secs = time.now - 102
    n_tokens = len(view.steps)
    neurons = messages.of(scene.network.neurons.geometry.attributes["color"])
    assert 2 <= len(neurons) <= secs * MAX_UPDATES_PER_SEC + 2 < n_tokens
    assert all(set(state) == {"array"} and size == 3 * 24 * 3 for state, size in neurons)
    for widget in (scene.network.heads, scene.network.nodes, scene.network.tabs):
        buffer = messages.of(widget.geometry.attributes["color"])
        assert 1 <= len(buffer) <= len(neurons) and all(size > 0 for _, size in buffer)
    assert max(messages.counts().values()) <= len(neurons)
    assert f"@{view.steps[-1].pos}" in scene.children[0].value

    messages.sent.clear()
    scene.refresh()  # nothing is new
    assert not messages.sent
    scene.close()


def test_a_pace_joins_requests_and_keeps_the_last() -> None:
    time, done = FakeTime(), []
    pace = Pace(lambda: done.append(time.now), interval_secs=0.1, clock=time.clock, call_later=time.call_later)
    for _ in range(100):
        pace.ask()
        time.move(0.005)
    time.move(0.2)
    gaps = np.diff(done)
    assert np.all(gaps >= 0.1 - 1e-9) and 5 <= len(done) <= 7
    assert done[-1] >= 100.495
    pace.ask()
    pace.ask()
    pace.close()
    time.move(1)
    assert len(done) <= 8


# ---------------------------------------------------------------------- clicking


@pytest.mark.parametrize("name", ["L0N0", "L1N13", "L2N23", "L0H1", "L2H0", "L1.attn", "L2.mlp"])
def test_a_click_selects_the_component_under_it(view: LiveView, scene: NetworkScene, name: str) -> None:
    generated(view, scene)
    told: list[str | None] = []
    view.on_selection(lambda selection: told.append(selection.name))
    click_on(scene, view, name)
    settle(view)
    assert view.selection.name == name and told == [name]
    step, part = view.steps[-1], parse_component(name)
    values = {
        "neuron": lambda: step.neurons[part.layer, part.index],
        "head": lambda: step.heads[part.layer, part.index],
        "attn": lambda: step.tensor("attn_out")[part.layer],
        "mlp": lambda: step.tensor("mlp_out")[part.layer],
    }
    assert f"{name} @{step.pos}" in scene.panel.line.value
    assert f"{float(values[part.kind]()):.4g}" in scene.panel.line.value
    assert scene.network.marker.visible and not scene.panel.ablate.disabled


def test_a_click_on_the_stream_a_gap_and_beside_the_network(view: LiveView, scene: NetworkScene) -> None:
    generated(view, scene)
    blocks, stream = build_blocks(view.model_info), view.steps[-1].residual
    click_on(scene, view, "L1H1")
    for x, y, said in (
        (layer_x(blocks, 1) + 0.1, 0.05, f"after layer 1 @{view.steps[-1].pos}: {float(stream[2]):.4g}"),
        (blocks.spine_from_x, 0.0, f"before layer 0 @{view.steps[-1].pos}: {float(stream[0]):.4g}"),
        (layer_x(blocks, 1), (blocks.mlp_tab.top + blocks.heads_bottom) / 2, "Click a part"),
    ):
        click(scene, x, y)
        settle(view)
        assert view.selection.component is None and said in scene.panel.line.value
        assert scene.panel.ablate.disabled and not scene.network.marker.visible
    click_on(scene, view, "L1H1")
    click(scene, 0, 0, hit=False)
    settle(view)
    assert view.selection.component is None


def test_the_click_that_ends_a_drag_selects_nothing(view: LiveView) -> None:
    """A zoom does not turn the camera, and a drag that ends beside the canvas is no click: the next one is."""
    time = FakeTime()
    scene = view.scene(clock=time.clock, call_later=time.call_later)
    x, y, z = scene.camera.position
    scene.camera.set_state({"position": [x + 3, y, z - 2]})
    click_on(scene, view, "L1H1")
    assert view.selection.component is None
    scene.camera.set_state({"position": [(x + 3) * 0.5, y * 0.5, (z - 2) * 0.5]})
    click_on(scene, view, "L0H1")
    assert view.selection.name == "L0H1"
    scene.camera.set_state({"position": [x, y, z]})
    time.move(1)
    click_on(scene, view, "L2H0")
    assert view.selection.name == "L2H0"
    scene.close()


def test_the_button_ablates_and_restores_and_what_is_off_is_red(view: LiveView, scene: NetworkScene) -> None:
    clean = view.generate(PROMPT, max_new_tokens=8).finish().run.token_ids
    red = list(rgb_of(picture()["ground"]["dark"]["ablated"]))
    for name in ("L0H1", "L2.mlp", "L1.attn", "L2N5"):
        click_on(scene, view, name)
        scene.panel.ablate.click()
    settle(view)
    assert view.ablated == ["L0H1", "L2.mlp", "L1.attn", "L2N5"] and scene.panel.ablate.description == "Restore"
    assert "ablated" in scene.panel.line.value
    tabs = colours(scene.network.tabs)
    assert (
        colours(scene.network.heads)[1].tolist() == red and colours(scene.network.neurons)[2 * 24 + 5].tolist() == red
    )
    assert tabs[4 * 2].tolist() == red and tabs[4 * (3 + 1)].tolist() == red
    assert view.generate(PROMPT, max_new_tokens=8).finish().run.token_ids != clean
    scene.panel.ablate.click()
    settle(view)
    assert view.ablated == ["L0H1", "L2.mlp", "L1.attn"] and scene.panel.ablate.description == "Ablate"
    assert colours(scene.network.neurons)[2 * 24 + 5].tolist() != red


def test_what_is_selected_elsewhere_is_marked_and_its_position_shown(view: LiveView, scene: NetworkScene) -> None:
    view.generate(PROMPT, max_new_tokens=6).finish()
    view.select("L2H1", pos=4)
    settle(view)
    scene.refresh()
    rect = rect_of(build_blocks(view.model_info), parse_component("L2H1"))
    frame = scene.network.marker.geometry.attributes["position"].array
    assert frame[:, 0].min() <= rect.x and frame[:, 0].max() >= rect.x + rect.w
    assert "L2H1 @4" in scene.panel.line.value and "@4" in scene.children[0].value
    view.select(None)
    settle(view)
    scene.refresh()
    assert not scene.network.marker.visible and f"@{view.steps[-1].pos}" in scene.children[0].value


# ---------------------------------------------------------------------- several, and the end


def test_two_scenes_follow_one_view_until_each_is_closed(view: LiveView, messages: Messages) -> None:
    first, second = view.scene(), view.scene(theme="light")
    view.generate(PROMPT, max_new_tokens=4).finish()
    first.refresh()
    second.refresh()
    assert first.children[0].value == second.children[0].value
    assert not np.array_equal(colours(first.network.neurons), colours(second.network.neurons))
    first.close()
    first.close()
    messages.sent.clear()
    view.generate(PROMPT, max_new_tokens=4).finish()
    second.refresh()
    assert second.model_id not in messages.counts() and messages.of(second.network.neurons.geometry.attributes["color"])
    view.close()
    click_on(second, view, "L0H0")  # nobody is there any more, and it says so
    assert "closed" in second.panel.line.value
    second.panel.ablate.click()
    second.refresh()
    second.close()


def test_a_scene_made_late_shows_what_there_is(view: LiveView) -> None:
    view.generate(PROMPT, max_new_tokens=4).finish()
    view.select("L1H0")
    scene = view.scene()
    assert f"L1H0 @{view.steps[-1].pos}" in scene.panel.line.value and scene.network.marker.visible
    scene.close()


# ---------------------------------------------------------------------- pictures


def decode_png(data: bytes) -> NDArray[np.uint8]:
    """RGB of a PNG whose rows are differences from the ones above."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, size = 8, b"", (0, 0)
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        size = struct.unpack(">II", body[:8]) if kind == b"IHDR" else size
        packed += body if kind == b"IDAT" else b""
        at += 12 + length
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(size[1], -1)
    assert np.all(rows[:, 0] == 2)
    return np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8).reshape(size[1], size[0], 3)


@pytest.mark.parametrize("look_from", VIEWS)
def test_the_picture_has_every_part_in_its_colour(view: LiveView, look_from: str) -> None:
    scene = view.scene(look_from=look_from, width=960, height=420)
    bundle = scene._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle
    dark = decode_png(base64.b64decode(str(bundle["image/png"])))
    view.generate(PROMPT, max_new_tokens=4).finish()
    scene.refresh()
    lit = decode_png(scene.still())
    assert lit.shape == (315, 720, 3) and np.mean(np.any(lit != dark, axis=-1)) > 0.05
    blocks = build_blocks(view.model_info)
    pose = fit_pose(whole_network(blocks), look_from, 960 / 420)
    for name in ("L0N0", "L2N23", "L1N11", "L0H0", "L2H1", "L1.attn", "L0.mlp"):
        part = parse_component(name)
        rect = rect_of(blocks, part)
        column, row = pixel_of(pose, 720, 315, rect.x + rect.w / 2, rect.y + rect.h / 2)
        shown = {
            "neuron": lambda at: colours(scene.network.neurons)[at.layer * 24 + at.index],
            "head": lambda at: colours(scene.network.heads)[at.layer * 2 + at.index],
            "mlp": lambda at: colours(scene.network.tabs)[4 * at.layer],
            "attn": lambda at: colours(scene.network.tabs)[4 * (3 + at.layer)],
        }[part.kind](part)
        assert lit[row, column].tolist() == shown.tolist(), name
    scene.close()


@pytest.mark.parametrize("shape", [(30, 9, 1536), (80, 64, 28_672), (1, 0, 7)])
@pytest.mark.parametrize("look_from", VIEWS)
def test_the_camera_sees_all_of_it_and_no_more_than_that(shape: tuple[int, int, int], look_from: str) -> None:
    class Shape:
        n_layers, n_heads, d_mlp = shape

    points = whole_network(build_blocks(Shape()))
    pose = fit_pose(points, look_from, 960 / 420)
    at = np.array([pixel_of(pose, 960, 420, x, y) for x, y, _ in points])
    assert at.min() >= 0 and at[:, 0].max() < 960 and at[:, 1].max() < 420
    assert np.ptp(at[:, 0]) > 0.9 * 960 or np.ptp(at[:, 1]) > 0.9 * 420


def test_a_model_with_no_captured_neurons_is_dark_and_says_so(view: LiveView, scene: NetworkScene) -> None:
    assert isinstance(view.model_info, ModelInfo)
    view.generate(PROMPT, max_new_tokens=3, channels=["heads"]).finish()
    scene.refresh()
    assert np.unique(colours(scene.network.neurons), axis=0).shape[0] == 1
    click_on(scene, view, "L0N3")
    settle(view)
    assert "not captured" in scene.panel.line.value


def test_without_the_extra_a_clear_word_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pythreejs", None)
    monkeypatch.delitem(sys.modules, "livelens.notebook")
    with pytest.raises(ImportError, match=r'pip install "livelens\[notebook\]"'):
        importlib.import_module("livelens.notebook")


def test_a_closed_view_has_no_scene(view: LiveView) -> None:
    view.close()
    with pytest.raises(LivelensError, match="closed"):
        view.scene()


def test_nothing_is_left_of_a_closed_scene(view: LiveView) -> None:
    before = set(widget_module._instances)
    scene = view.scene()
    during = set(widget_module._instances)
    scene.close()
    assert len(during - before) > 80
    assert set(widget_module._instances) == before
