"""`view.scene()` without a browser: what a click does, several scenes of one view, and the end of one."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
from ipywidgets.widgets import widget as widget_module
from tests.unit.notebook.messages import Messages
from tests.unit.notebook.scenes import PROMPT, FakeTime, click, click_on, colours, generated, settle

from livelens.client import LivelensError
from livelens.library.live_view import LiveView
from livelens.notebook.colours import rgb_of
from livelens.notebook.layout import build_blocks, layer_x, picture, rect_of
from livelens.notebook.scene import NetworkScene
from livelens.protocol.components import parse_component


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


def test_a_second_click_on_the_same_place_is_heard(view: LiveView, scene: NetworkScene, messages: Messages) -> None:
    """The browser sends what has changed, and all of that is the keys, for the scene has taken those back."""
    click_on(scene, view, "L1H1")
    assert ({"modifiers": []}, 0) in messages.of(scene.picker)
    view.select(None)
    scene.picker.set_state({"modifiers": [False] * 4})
    assert view.selection.name == "L1H1"


def test_a_shift_of_the_camera_is_no_turn(view: LiveView) -> None:
    """The page tells of the camera first and of what it turns around after that."""
    time = FakeTime()
    scene = view.scene(clock=time.clock, call_later=time.call_later)
    shifted = np.add(scene.camera.position, [3, 1, 0])
    scene.camera.set_state({"position": shifted.tolist()})
    scene.controls.set_state({"target": [3, 1, 0]})
    time.move(1)
    scene.camera.set_state({"position": [*(np.subtract(shifted, [3, 1, 0]) / 2 + [3, 1, 0])]})
    click_on(scene, view, "L1H1")
    assert view.selection.name == "L1H1"
    scene.close()


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
