"""The network as pythreejs objects: what they hold, and what is sent of them."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.notebook.messages import Messages
from tests.unit.notebook.scenes import PROMPT, FakeTime, click_on, colours, settle

import livelens
from livelens.library.live_view import LiveView
from livelens.notebook.colours import colour_map
from livelens.notebook.layout import build_blocks, head_places, neuron_places
from livelens.notebook.scene import MAX_UPDATES_PER_SEC, NetworkScene
from livelens.protocol.messages import ModelInfo


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


def test_a_model_with_no_captured_neurons_is_dark_and_says_so(view: LiveView, scene: NetworkScene) -> None:
    assert isinstance(view.model_info, ModelInfo)
    view.generate(PROMPT, max_new_tokens=3, channels=["heads"]).finish()
    scene.refresh()
    assert np.unique(colours(scene.network.neurons), axis=0).shape[0] == 1
    click_on(scene, view, "L0N3")
    settle(view)
    assert "not captured" in scene.panel.line.value


def test_each_buffer_is_sent_once_an_update_whole_and_binary(view: LiveView, messages: Messages) -> None:
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
