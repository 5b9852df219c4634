"""A picture of the scene without a browser: every pixel's ray, the cell it meets, its colour; written as PNG."""

from __future__ import annotations

import struct
import zlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from livelens.notebook.camera import Pose, plane_points
from livelens.notebook.colours import U8, rgb_of
from livelens.notebook.layout import F64, Theme, picture
from livelens.notebook.sheet import Sheet

_SUPERSAMPLED: Final = 2  # rays a pixel, each way
_DISC_RADIUS: Final = 0.42  # of the heads' pitch
_Index = NDArray[np.intp]


def still_png(sheet: Sheet, pose: Pose, theme: Theme, *, width: int, height: int) -> bytes:
    """The sheet as it is seen from `pose`."""
    return _png(draw(sheet, pose, theme, width=width, height=height))


def draw(sheet: Sheet, pose: Pose, theme: Theme, *, width: int, height: int) -> U8:
    """The same as bytes [height, width, 3]."""
    n = _SUPERSAMPLED
    x, y = plane_points(pose, width * n, height * n)
    colours = _colours_at(sheet, x, y, theme)
    total = colours.reshape(height, n, width, n, 3).sum(axis=(1, 3), dtype=np.uint16)
    mean: U8 = ((total + n * n // 2) // (n * n)).astype(np.uint8)
    return mean


def _colours_at(sheet: Sheet, x: F64, y: F64, theme: Theme) -> U8:
    blocks, ground = sheet.blocks, picture()["ground"][theme]
    out = np.empty((*x.shape, 3), np.uint8)
    out[:] = rgb_of(ground["background"])
    along = (x >= blocks.spine_from_x) & (x <= blocks.spine_to_x)
    out[along & (np.abs(y - blocks.spine_y) < sheet.spine_half_width)] = rgb_of(ground["spine"])
    near = np.abs(y - blocks.spine_y) < sheet.node_radius
    out[near] = _nodes(sheet, x[near], y[near], out[near])
    layer = np.clip(np.floor(x / blocks.layer_pitch), 0, blocks.n_layers - 1).astype(np.intp)
    local = x - layer * blocks.layer_pitch - (blocks.layer_pitch - blocks.panel_width) / 2
    inside = (local >= 0) & (local < blocks.panel_width)
    cells = inside & (y > blocks.panel_bottom) & (y <= blocks.panel_top)
    out[cells] = _neurons(sheet, layer[cells], local[cells], y[cells], rgb_of(ground["panel"]))
    discs = inside & (y > blocks.heads_bottom) & (y <= blocks.heads_top)
    out[discs] = _heads(sheet, layer[discs], local[discs], y[discs], out[discs])
    for tab, colours in ((blocks.mlp_tab, sheet.mlp_colours), (blocks.attn_tab, sheet.attn_colours)):
        strip = inside & (y >= tab.bottom) & (y <= tab.top)
        out[strip] = colours[layer[strip]]
    return out


def _nodes(sheet: Sheet, x: F64, y: F64, under: U8) -> U8:
    places = sheet.node_places
    away = np.abs(x[:, None] - places[:, 0])
    node = np.argmin(away, axis=1)
    is_there = np.hypot(away[np.arange(len(x)), node], y - sheet.blocks.spine_y) < sheet.node_radius
    return _either(is_there, sheet.node_colours[node], under)


def _neurons(sheet: Sheet, layer: _Index, local: F64, y: F64, panel: tuple[int, int, int]) -> U8:
    blocks = sheet.blocks
    column = np.minimum(blocks.columns - 1, np.floor(local / blocks.cell)).astype(np.intp)
    row = np.minimum(blocks.rows - 1, np.floor((blocks.panel_top - y) / blocks.cell)).astype(np.intp)
    index = row * blocks.columns + column
    found: U8 = sheet.neuron_colours[layer * blocks.d_mlp + np.minimum(index, blocks.d_mlp - 1)]
    found[index >= blocks.d_mlp] = panel
    return found


def _heads(sheet: Sheet, layer: _Index, local: F64, y: F64, under: U8) -> U8:
    blocks = sheet.blocks
    across, down = (local - blocks.heads_left) / blocks.head_pitch, (blocks.heads_top - y) / blocks.head_pitch
    column, row = np.floor(across).astype(np.intp), np.floor(down).astype(np.intp)
    index = row * blocks.head_columns + column
    away = np.hypot(across - column - 0.5, down - row - 0.5)
    is_there = (column >= 0) & (column < blocks.head_columns) & (index < blocks.n_heads) & (away <= _DISC_RADIUS)
    at = layer * blocks.n_heads + np.clip(index, 0, blocks.n_heads - 1)
    rims = np.broadcast_to(sheet.rim_colour, under.shape)
    return _either(is_there, _either(away > _DISC_RADIUS * 0.86, rims, sheet.head_colours[at]), under)


def _either(is_first: NDArray[np.bool_], first: U8, second: U8) -> U8:
    found: U8 = np.where(is_first[:, None], first, second)
    return found


def _png(pixels: U8) -> bytes:
    """RGB bytes [height, width, 3] as a PNG file."""
    height, width = pixels.shape[:2]
    # Every row is stored as its difference from the one above: panels are alike from row to row
    rows = pixels.reshape(height, -1)
    above = np.vstack([np.zeros((1, rows.shape[1]), np.uint8), rows[:-1]])
    filtered = np.hstack([np.full((height, 1), 2, np.uint8), rows - above])
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(filtered.tobytes(), 6)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(kind, data) for kind, data in parts)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
