"""Where everything of a model lies, in a notebook's scene as in the page: `picture.json` is both sides' description.

The arithmetic is that of `client/src/layout/blocks.ts`; `shared_schema/fixtures/picture.json` holds both to it.
World units; x is depth in the model, y is up, one token's sheet lies in the plane z = 0.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from livelens.protocol.messages import Component

F64 = NDArray[np.float64]
Theme = Literal["dark", "light"]


class Stop(TypedDict):
    """One colour of a scale: `at` 0..1, `colour` #rrggbb."""

    at: float
    colour: str


class Picture(TypedDict):
    """What `picture.json` holds."""

    layout: dict[str, float]
    colours: dict[Literal["sequential", "diverging"], dict[Theme, list[Stop]]]
    ground: dict[Theme, dict[str, str]]


@cache
def picture() -> Picture:
    """The description that the page and the notebook share."""
    text = files("livelens.notebook").joinpath("picture.json").read_text(encoding="utf-8")
    document: Picture = json.loads(text)
    return document


class ModelShape(Protocol):
    """What of a `ModelInfo` the layout depends on."""

    @property
    def n_layers(self) -> int: ...
    @property
    def n_heads(self) -> int: ...
    @property
    def d_mlp(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Rect:
    """Left, bottom, width and height."""

    x: float
    y: float
    w: float
    h: float


@dataclass(frozen=True, slots=True)
class Strip:
    """A tab's lower and upper edge."""

    bottom: float
    top: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocks:
    """Every length of a model's sheet; the names are those of `Blocks` in the page's `blocks.ts`."""

    n_layers: int
    n_heads: int
    d_mlp: int
    layer_pitch: float
    panel_width: float
    columns: int
    rows: int
    cell: float
    panel_bottom: float
    panel_top: float
    mlp_tab: Strip
    attn_tab: Strip
    head_columns: int
    head_rows: int
    head_pitch: float
    heads_left: float
    heads_bottom: float
    heads_top: float
    spine_y: float
    spine_from_x: float
    spine_to_x: float
    top: float


def _rounded(value: float) -> int:
    """Halves go up, as JavaScript's do."""
    return math.floor(value + 0.5)


def neuron_columns(shape: ModelShape) -> int:
    """The number of columns near the one that gives a well-proportioned panel, rather one without a ragged row."""
    if shape.d_mlp < 1:
        return 1
    size = picture()["layout"]
    width = size["panel_share"] * size["sheet_width"]
    ideal = math.sqrt((width * shape.d_mlp) / (shape.n_layers * size["wanted_panel_height"]))
    best, best_cost = max(1, _rounded(ideal)), math.inf
    for columns in range(max(1, math.floor(ideal * 0.75)), math.ceil(ideal * 1.25) + 1):
        is_ragged = shape.d_mlp % columns > 0
        cost = abs(math.log(columns / ideal)) + (0.3 if is_ragged else 0)
        if cost < best_cost:
            best, best_cost = columns, cost
    return min(best, shape.d_mlp)


def _head_grid(n_heads: int, panel_width: float, most: float) -> tuple[int, int, float]:
    """Columns, rows and pitch: a square where it is low enough, else the largest discs that fit."""
    if n_heads < 1:
        return 1, 0, panel_width
    square = math.ceil(math.sqrt(n_heads))
    rows = math.ceil(n_heads / square)
    if rows * (panel_width / square) <= most:
        return square, rows, panel_width / square
    best, best_empty = (1, n_heads, 0.0), 0
    for columns in range(1, n_heads + 1):
        rows = math.ceil(n_heads / columns)
        pitch = min(panel_width / columns, most / rows)
        empty = rows * columns - n_heads
        if pitch > best[2] * 1.001 or (pitch > best[2] * 0.92 and empty < best_empty):
            best, best_empty = (columns, rows, pitch), empty
        if pitch < best[2] * 0.5:
            break
    return best


def build_blocks(shape: ModelShape) -> Blocks:
    """Lay out one token's sheet. Raises ValueError for a model without layers."""
    if shape.n_layers < 1:
        raise ValueError(f"a model needs at least one layer to be shown, got {shape.n_layers}")
    size = picture()["layout"]
    layer_pitch = size["sheet_width"] / shape.n_layers
    panel_width = layer_pitch * size["panel_share"]
    columns = neuron_columns(shape)
    rows = math.ceil(shape.d_mlp / columns)
    cell = panel_width / columns
    panel_top = size["panel_bottom"] + rows * cell
    mlp_tab = _tab_above(panel_top)
    heads_bottom = mlp_tab.top + size["heads_gap"]
    head_columns, head_rows, pitch = _head_grid(shape.n_heads, panel_width, size["max_heads_height"])
    heads_top = heads_bottom + head_rows * pitch
    attn_tab = _tab_above(heads_top)
    return Blocks(
        n_layers=shape.n_layers,
        n_heads=shape.n_heads,
        d_mlp=shape.d_mlp,
        layer_pitch=layer_pitch,
        panel_width=panel_width,
        columns=columns,
        rows=rows,
        cell=cell,
        panel_bottom=size["panel_bottom"],
        panel_top=panel_top,
        mlp_tab=mlp_tab,
        attn_tab=attn_tab,
        head_columns=head_columns,
        head_rows=head_rows,
        head_pitch=pitch,
        heads_left=(panel_width - head_columns * pitch) / 2,
        heads_bottom=heads_bottom,
        heads_top=heads_top,
        spine_y=0.0,
        spine_from_x=-size["spine_overhang"],
        spine_to_x=size["sheet_width"] + size["spine_overhang"],
        top=attn_tab.top,
    )


def _tab_above(y: float) -> Strip:
    size = picture()["layout"]
    return Strip(bottom=y + size["tab_gap"], top=y + size["tab_gap"] + size["tab_height"])


def panel_left(blocks: Blocks, layer: int) -> float:
    """Left edge of a layer's panel."""
    return layer * blocks.layer_pitch + (blocks.layer_pitch - blocks.panel_width) / 2


def layer_x(blocks: Blocks, layer: int) -> float:
    """Middle of a layer's panel: where its node lies on the spine."""
    return (layer + 0.5) * blocks.layer_pitch


def neuron_places(blocks: Blocks) -> F64:
    """Middles of all cells, [n_layers * d_mlp, 2] of x and y, layer by layer."""
    index = np.arange(blocks.d_mlp, dtype=np.float64)
    x = (index % blocks.columns + 0.5) * blocks.cell
    y = blocks.panel_top - (index // blocks.columns + 0.5) * blocks.cell
    return _in_every_layer(blocks, x, y)


def head_places(blocks: Blocks) -> F64:
    """Middles of all discs, [n_layers * n_heads, 2] of x and y, layer by layer."""
    index = np.arange(blocks.n_heads, dtype=np.float64)
    x = blocks.heads_left + (index % blocks.head_columns + 0.5) * blocks.head_pitch
    y = blocks.heads_top - (index // blocks.head_columns + 0.5) * blocks.head_pitch
    return _in_every_layer(blocks, x, y)


def _in_every_layer(blocks: Blocks, x: F64, y: F64) -> F64:
    left = np.array([panel_left(blocks, layer) for layer in range(blocks.n_layers)])
    places = np.empty((blocks.n_layers, len(x), 2))
    places[..., 0] = left[:, None] + x
    places[..., 1] = y
    return places.reshape(-1, 2)


def node_places(blocks: Blocks) -> F64:
    """The stream's nodes on the spine: before layer 0, then after each layer; [n_layers + 1, 2]."""
    x = [blocks.spine_from_x, *(layer_x(blocks, layer) for layer in range(blocks.n_layers))]
    return np.array([(one, blocks.spine_y) for one in x])


def rect_of(blocks: Blocks, component: Component) -> Rect:
    """The rectangle of a component of the model."""
    left = panel_left(blocks, component.layer)
    match component.kind:
        case "neuron":
            row, column = divmod(component.index, blocks.columns)
            y = blocks.panel_top - (row + 1) * blocks.cell
            return Rect(left + column * blocks.cell, y, blocks.cell, blocks.cell)
        case "head":
            row, column = divmod(component.index, blocks.head_columns)
            pitch = blocks.head_pitch
            return Rect(left + blocks.heads_left + column * pitch, blocks.heads_top - (row + 1) * pitch, pitch, pitch)
        case "mlp" | "attn" as kind:
            tab = blocks.mlp_tab if kind == "mlp" else blocks.attn_tab
            return Rect(left, tab.bottom, blocks.panel_width, tab.top - tab.bottom)


def component_at(blocks: Blocks, x: float, y: float) -> Component | None:
    """The component under a point of the sheet's plane; none in the gaps. Inverse of `rect_of`."""
    layer = math.floor(x / blocks.layer_pitch)
    local = x - panel_left(blocks, layer)
    if not 0 <= layer < blocks.n_layers or not 0 <= local < blocks.panel_width:
        return None
    if blocks.panel_bottom < y <= blocks.panel_top:
        column = min(blocks.columns - 1, math.floor(local / blocks.cell))
        row = min(blocks.rows - 1, math.floor((blocks.panel_top - y) / blocks.cell))
        index = row * blocks.columns + column
        return Component(kind="neuron", layer=layer, index=index) if index < blocks.d_mlp else None
    if blocks.heads_bottom < y <= blocks.heads_top:
        return _head_at(blocks, layer, local - blocks.heads_left, y)
    if blocks.mlp_tab.bottom <= y <= blocks.mlp_tab.top:
        return Component(kind="mlp", layer=layer)
    if blocks.attn_tab.bottom <= y <= blocks.attn_tab.top:
        return Component(kind="attn", layer=layer)
    return None


def _head_at(blocks: Blocks, layer: int, local: float, y: float) -> Component | None:
    column = math.floor(local / blocks.head_pitch)
    row = min(blocks.head_rows - 1, math.floor((blocks.heads_top - y) / blocks.head_pitch))
    index = row * blocks.head_columns + column
    if not 0 <= column < blocks.head_columns or index >= blocks.n_heads:
        return None
    return Component(kind="head", layer=layer, index=index)
