"""One token's sheet as colours: what the browser's points and the still picture show alike."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from livelens.notebook.colours import U8, Display, Tensors, code_colours, encode, rgb_of
from livelens.notebook.layout import F64, Blocks, Theme, layer_x, node_places, picture
from livelens.protocol.components import parse_component


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Colours, bytes [n, 3]: neurons and heads layer by layer, tabs by layer, nodes of the stream before and after."""

    blocks: Blocks
    neuron_colours: U8
    head_colours: U8
    attn_colours: U8
    mlp_colours: U8
    node_colours: U8
    rim_colour: U8

    @property
    def node_places(self) -> F64:
        """[n_layers + 1, 2]."""
        return node_places(self.blocks)

    @property
    def node_radius(self) -> float:
        """World units."""
        return node_radius(self.blocks)

    @property
    def spine_half_width(self) -> float:
        """World units."""
        return SPINE_HALF_WIDTH


SPINE_HALF_WIDTH = 0.03


def node_radius(blocks: Blocks) -> float:
    """Of the stream's nodes; those of deep models must not touch."""
    return min(0.07, blocks.layer_pitch * 0.28)


def node_at(blocks: Blocks, x: float, y: float) -> int | None:
    """Which node of the residual stream is meant by a click: 0 before layer 0, l + 1 after layer l."""
    near = max(node_radius(blocks) * 2, blocks.layer_pitch * 0.5)
    if abs(y - blocks.spine_y) > 0.25 or not blocks.spine_from_x - near <= x <= layer_x(blocks, blocks.n_layers):
        return None
    away = np.abs(node_places(blocks)[:, 0] - x)
    node = int(np.argmin(away))
    return node if away[node] <= near else None


def colour_sheet(
    blocks: Blocks, tensors: Tensors, *, display: Display, theme: Theme, ablated: Iterable[str] = ()
) -> Sheet:
    """A step's tensors (none at all: a dark network) as colours; what is ablated has a colour of its own."""
    table, ground = code_colours(display, theme), picture()["ground"][theme]
    codes = encode(tensors, display, blocks)
    sheet = Sheet(
        blocks=blocks,
        neuron_colours=table[codes.neurons.view(np.uint8).reshape(-1)],
        head_colours=table[codes.heads.view(np.uint8).reshape(-1)],
        attn_colours=table[codes.attn.view(np.uint8)],
        mlp_colours=table[codes.mlp.view(np.uint8)],
        node_colours=_node_colours(blocks, tensors, ground),
        rim_colour=np.array(rgb_of(ground["disc"]), np.uint8),
    )
    _mark(sheet, ablated, rgb_of(ground["ablated"]))
    return sheet


def _node_colours(blocks: Blocks, tensors: Tensors, ground: dict[str, str]) -> U8:
    """From the line's colour to the nodes' by the logarithm of the stream's norm, over the model."""
    residual = tensors.get("residual")
    loudness = np.full(blocks.n_layers + 1, 0.5)
    if residual is not None:
        log = np.log(np.maximum(np.nan_to_num(residual.astype(np.float64), posinf=0), 1e-6))
        low, high = float(log.min()), float(log.max())
        loudness = (log - low) / (high - low) if high > low else loudness
    quiet, loud = np.array(rgb_of(ground["rail"])), np.array(rgb_of(ground["node"]))
    colours: U8 = np.floor(quiet + loudness[:, None] * (loud - quiet) + 0.5).astype(np.uint8)
    return colours


def _mark(sheet: Sheet, ablated: Iterable[str], colour: tuple[int, int, int]) -> None:
    blocks = sheet.blocks
    for name in ablated:
        part = parse_component(name)
        match part.kind:
            case "neuron":
                sheet.neuron_colours[part.layer * blocks.d_mlp + part.index] = colour
            case "head":
                sheet.head_colours[part.layer * blocks.n_heads + part.index] = colour
            case "mlp":
                sheet.mlp_colours[part.layer] = colour
            case "attn":
                sheet.attn_colours[part.layer] = colour
