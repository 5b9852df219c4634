"""Where things lie and how loud they look: as in the page, by the file that the page is held against too."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest

from livelens.notebook.colours import Display, code_colours, colour_map, encode
from livelens.notebook.layout import (
    Blocks,
    Theme,
    build_blocks,
    component_at,
    head_places,
    layer_x,
    neuron_places,
    rect_of,
)
from livelens.protocol.messages import Component

GOLDEN = json.loads((Path(__file__).parents[3] / "shared_schema" / "fixtures" / "picture.json").read_text())
LAYOUTS: list[dict[str, Any]] = GOLDEN["layouts"]


def blocks_of(layout: dict[str, Any]) -> Blocks:
    shape = {name: layout["blocks"][name] for name in ("n_layers", "n_heads", "d_mlp")}
    return build_blocks(SimpleNamespace(**shape))


def component(named: dict[str, Any] | None) -> Component | None:
    return None if named is None else msgspec.convert(named, Component)


@pytest.fixture(params=LAYOUTS, ids=[f"{at['blocks']['n_layers']}x{at['blocks']['d_mlp']}" for at in LAYOUTS])
def layout(request: pytest.FixtureRequest) -> dict[str, Any]:
    found: dict[str, Any] = request.param
    return found


def test_every_length_is_the_pages(layout: dict[str, Any]) -> None:
    ours = dataclasses.asdict(blocks_of(layout))
    assert ours.keys() == layout["blocks"].keys()
    for name, theirs in layout["blocks"].items():
        assert ours[name] == pytest.approx(theirs, rel=1e-12, abs=1e-12), name


def test_every_component_lies_where_the_page_has_it(layout: dict[str, Any]) -> None:
    """Singly, and in the arrays that the scene's points are made of; each is found at its middle again."""
    blocks = blocks_of(layout)
    places = {"neuron": (neuron_places(blocks), blocks.d_mlp), "head": (head_places(blocks), blocks.n_heads)}
    assert len(places["neuron"][0]) == blocks.n_layers * blocks.d_mlp
    for entry in layout["rects"]:
        part = component(entry["component"])
        assert part is not None
        rect = rect_of(blocks, part)
        assert dataclasses.asdict(rect) == pytest.approx(entry["rect"], rel=1e-9, abs=1e-12), part
        middle = (rect.x + rect.w / 2, rect.y + rect.h / 2)
        assert component_at(blocks, *middle) == part
        if part.kind in places:
            array, width = places[part.kind]
            assert array[part.layer * width + part.index] == pytest.approx(middle, abs=1e-9)
    for layer, x in zip((0, blocks.n_layers - 1), layout["layers_x"], strict=True):
        assert layer_x(blocks, layer) == pytest.approx(x)


def test_a_point_is_the_component_that_the_page_finds_there(layout: dict[str, Any]) -> None:
    blocks = blocks_of(layout)
    for probe in layout["probes"]:
        assert component_at(blocks, probe["x"], probe["y"]) == component(probe["component"]), probe


def test_a_model_without_layers_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one layer"):
        build_blocks(SimpleNamespace(n_layers=0, n_heads=1, d_mlp=1))


@pytest.mark.parametrize("golden", GOLDEN["colours"], ids=lambda one: f"{one['channel']}-{one['theme']}")
def test_colours_are_the_pages(golden: dict[str, Any]) -> None:
    display: Display = golden["channel"]
    theme: Theme = golden["theme"]
    ramp = colour_map(display, theme)
    assert ramp[::8].tolist() == golden["every_eighth"]
    by_code = code_colours(display, theme)
    if display == "activation":
        assert by_code[127].tolist() == by_code[np.int8(-127).view(np.uint8)].tolist() == ramp[255].tolist()
        assert by_code[0].tolist() == ramp[0].tolist()
    else:
        assert by_code[127].tolist() == ramp[255].tolist() != ramp[0].tolist()
        assert by_code[np.int8(-127).view(np.uint8)].tolist() == ramp[0].tolist()
    assert by_code[128].tolist() not in ramp.tolist()  # not finite


@pytest.mark.parametrize("display", ["activation", "direct_logit"])
def test_values_become_the_pages_codes(display: Display) -> None:
    step: dict[str, list[float]] = GOLDEN["step"]
    by_name = {"direct_neuron_layer": np.uint16, "direct_neuron_index": np.uint32, "neurons": np.int8}
    tensors = {name: np.array(values, by_name.get(name, np.float32)) for name, values in step.items()}
    codes = encode(tensors, display, build_blocks(SimpleNamespace(n_layers=2, n_heads=3, d_mlp=3)))
    golden = GOLDEN["codes"][display]
    assert codes.neurons.reshape(-1).tolist() == golden["neurons"]
    together = np.concatenate([codes.heads, codes.attn[:, None], codes.mlp[:, None]], axis=1)
    assert together.reshape(-1).tolist() == golden["blocks_codes"]
