"""The network as pythreejs objects: made once, after that only buffers of colours change, each replaced whole."""

from __future__ import annotations

from typing import Final

import numpy as np
import pythreejs as three

from livelens.notebook.camera import FOV_DEGREES, Pose
from livelens.notebook.colours import U8, rgb_of
from livelens.notebook.layout import (
    F64,
    Blocks,
    Rect,
    Theme,
    head_places,
    layer_x,
    neuron_places,
    panel_left,
    picture,
)
from livelens.notebook.sheet import Sheet

_TAN: Final = float(np.tan(np.radians(FOV_DEGREES) / 2))
_FONT_PIXELS: Final = 32
_LETTER_WIDTH: Final = 0.602  # of a monospaced font's size
_LABEL_HEIGHT: Final = 0.34  # world units
_FRAME_GAP: Final = 0.03
_LEAST_FRAME: Final = 0.24


class NetworkObjects:
    """Everything of one network. `group` is for a scene; `show` and `mark` change what it shows.

    `centre`: what the camera turns around; three.js looks at its origin, so the network is moved there.
    """

    def __init__(self, sheet: Sheet, theme: Theme, centre: tuple[float, float, float]) -> None:
        blocks = sheet.blocks
        ground = picture()["ground"][theme]
        self._blocks = blocks
        self._neurons = _colour_buffer(sheet.neuron_colours)
        self._heads = _colour_buffer(sheet.head_colours)
        self._nodes = _colour_buffer(sheet.node_colours)
        self._tabs = _colour_buffer(_tab_colours(sheet))
        self._marker = three.BufferAttribute(np.zeros((8, 3), np.float32), normalized=False)
        # Of cells in one pixel the loudest is seen: the lightest on a dark ground, the darkest on a light one
        loudest = {"blending": "CustomBlending", "blendSrc": "OneFactor", "blendDst": "OneFactor"}
        loudest["blendEquation"] = "MaxEquation" if theme == "dark" else "MinEquation"
        disc = {"map": _disc(), "transparent": True}
        rims = np.broadcast_to(sheet.rim_colour, sheet.head_colours.shape)
        heads = head_places(blocks)
        self.neurons = _points(neuron_places(blocks), self._neurons, blocks.cell * 0.96, order=2, **loudest)
        self.heads = _points(heads, self._heads, blocks.head_pitch * 0.74, order=4, **disc)
        self.nodes = _points(sheet.node_places, self._nodes, sheet.node_radius * 2, order=4, **disc)
        self.tabs = _mesh(_tab_rects(blocks), self._tabs, order=2)
        self.marker = three.LineSegments(
            three.BufferGeometry(attributes={"position": self._marker}),
            three.LineBasicMaterial(color=ground["accent"], depthTest=False, transparent=True),
            renderOrder=6,
            frustumCulled=False,
            visible=False,
        )
        self.plane = _plane(blocks)
        still = [
            _ground(sheet, ground),
            _points(heads, _colour_buffer(rims), blocks.head_pitch * 0.88, order=3, **disc),
            *_labels(blocks, ground),
        ]
        self.group = three.Group(
            children=[*still, self.tabs, self.neurons, self.heads, self.nodes, self.marker, self.plane],
            position=tuple(-part for part in centre),
        )
        self.centre = centre

    def show(self, sheet: Sheet) -> None:
        """Other colours: one message for each buffer that differs."""
        self._neurons.array = sheet.neuron_colours
        self._heads.array = sheet.head_colours
        self._tabs.array = _tab_colours(sheet)
        self._nodes.array = sheet.node_colours

    def mark(self, rect: Rect | None) -> None:
        """A frame around what is selected, or none."""
        if rect is not None:
            # Wider than a small cell, which it would else hide
            dx, dy = (max(_FRAME_GAP, (_LEAST_FRAME - side) / 2) for side in (rect.w, rect.h))
            x0, x1, y0, y1 = rect.x - dx, rect.x + rect.w + dx, rect.y - dy, rect.y + rect.h + dy
            corners = [(x0, y0), (x1, y0), (x1, y0), (x1, y1), (x1, y1), (x0, y1), (x0, y1), (x0, y0)]
            self._marker.array = np.array([(x, y, 0) for x, y in corners], np.float32)
        self.marker.visible = rect is not None


def camera_at(pose: Pose, aspect: float) -> three.PerspectiveCamera:
    """A camera that stands there, seen from what it looks at."""
    away = tuple(float(part) for part in np.subtract(pose.position, pose.target))
    return three.PerspectiveCamera(position=away, fov=FOV_DEGREES, aspect=aspect, near=0.05, far=500)


def _colour_buffer(colours: U8) -> three.BufferAttribute:
    return three.BufferAttribute(np.ascontiguousarray(colours), normalized=True)


def _in_space(places: F64) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.column_stack([places, np.zeros(len(places))]).astype(np.float32)


def _points(
    places: F64, colours: three.BufferAttribute, width: float, *, order: int, **material: object
) -> three.Points:
    """width: world units of a point; three.js wants it in heights of the picture at distance one."""
    position = three.BufferAttribute(_in_space(places), normalized=False)
    return three.Points(
        three.BufferGeometry(attributes={"position": position, "color": colours}),
        three.PointsMaterial(vertexColors="VertexColors", size=width / _TAN, depthTest=False, **material),
        renderOrder=order,
        frustumCulled=False,
    )


def _mesh(rects: list[Rect], colours: three.BufferAttribute, *, order: int) -> three.Mesh:
    """Rectangles in one object; colours [4 * n, 3], four corners of each."""
    corners = [(r.x + dx * r.w, r.y + dy * r.h) for r in rects for dy in (0, 1) for dx in (0, 1)]
    index = (4 * np.arange(len(rects))[:, None] + np.array([0, 1, 2, 2, 1, 3])).astype(np.uint32)
    attributes = {
        "position": three.BufferAttribute(_in_space(np.array(corners)), normalized=False),
        "color": colours,
        "index": three.BufferAttribute(index.reshape(-1), normalized=False),
    }
    material = three.MeshBasicMaterial(vertexColors="VertexColors", side="DoubleSide", depthTest=False)
    return three.Mesh(three.BufferGeometry(attributes=attributes), material, renderOrder=order, frustumCulled=False)


def _tab_rects(blocks: Blocks) -> list[Rect]:
    """Whole MLPs, then whole attention blocks."""
    return [
        Rect(panel_left(blocks, layer), tab.bottom, blocks.panel_width, tab.top - tab.bottom)
        for tab in (blocks.mlp_tab, blocks.attn_tab)
        for layer in range(blocks.n_layers)
    ]


def _tab_colours(sheet: Sheet) -> U8:
    return np.repeat(np.concatenate([sheet.mlp_colours, sheet.attn_colours]), 4, axis=0)


def _ground(sheet: Sheet, ground: dict[str, str]) -> three.Mesh:
    """What never changes: panels behind the neurons, the stream's line."""
    blocks = sheet.blocks
    half = sheet.spine_half_width
    height = blocks.panel_top - blocks.panel_bottom
    panels = [
        Rect(panel_left(blocks, layer), blocks.panel_bottom, blocks.panel_width, height)
        for layer in range(blocks.n_layers)
    ]
    spine = Rect(blocks.spine_from_x, blocks.spine_y - half, blocks.spine_to_x - blocks.spine_from_x, 2 * half)
    colours = [rgb_of(ground["panel"])] * len(panels) + [rgb_of(ground["spine"])]
    buffer = _colour_buffer(np.repeat(np.array(colours, np.uint8), 4, axis=0))
    return _mesh([*panels, spine], buffer, order=1)


def _plane(blocks: Blocks) -> three.Mesh:
    """Unseen, over the whole sheet: a click on it is a point, from which arithmetic finds the component."""
    x0, x1, y0, y1 = blocks.spine_from_x - 0.3, blocks.spine_to_x + 0.3, blocks.spine_y - 0.3, blocks.top + 0.2
    material = three.MeshBasicMaterial(opacity=0, transparent=True, side="DoubleSide", depthWrite=False)
    middle = ((x0 + x1) / 2, (y0 + y1) / 2, 0)
    return three.Mesh(three.PlaneBufferGeometry(x1 - x0, y1 - y0), material, position=middle)


def _disc() -> three.DataTexture:
    """A white disc with a soft edge on nothing, [64, 64, 4]."""
    at = (np.arange(64) - 31.5) / 32
    cover = np.clip((1 - np.hypot(at[:, None], at[None, :])) * 16, 0, 1)
    pixels = np.full((64, 64, 4), 255, np.uint8)
    pixels[..., 3] = np.floor(cover * 255 + 0.5)
    return three.DataTexture(
        pixels, format="RGBAFormat", type="UnsignedByteType", minFilter="LinearFilter", magFilter="LinearFilter"
    )


def _labels(blocks: Blocks, ground: dict[str, str]) -> list[three.Sprite]:
    """Every few layers' names below the line, the stream's ends, and what the rows are."""
    every = max(1, -(-blocks.n_layers // 10))
    below = blocks.spine_y - 0.32
    x0, x1 = blocks.spine_from_x, blocks.spine_to_x
    words = [(f"L{layer}", layer_x(blocks, layer), below) for layer in range(0, blocks.n_layers, every)]
    words += [("embedding", x0 + 0.9, blocks.spine_y + 0.32), ("logits", x1 - 0.6, blocks.spine_y + 0.32)]
    words += [("neurons", -0.75, (blocks.panel_bottom + blocks.panel_top) / 2)]
    if blocks.n_heads:
        words.append(("heads", -0.6, (blocks.heads_bottom + blocks.heads_top) / 2))
    return [_label(*word, colour=ground["spine"]) for word in words]


def _label(text: str, x: float, y: float, *, colour: str) -> three.Sprite:
    # The texture is as wide as the browser's font makes it: of a monospaced one that is known here
    width = (_LETTER_WIDTH * _FONT_PIXELS * len(text) + 2) / (_FONT_PIXELS + 2) * _LABEL_HEIGHT
    texture = three.TextTexture(
        string=text,
        color=colour,
        size=_FONT_PIXELS,
        fontFace="monospace",
        squareTexture=False,
        minFilter="LinearFilter",
        generateMipmaps=False,
    )
    material = three.SpriteMaterial(map=texture, transparent=True, depthTest=False)
    return three.Sprite(material, position=(x, y, 0), scale=(width, _LABEL_HEIGHT, 1), renderOrder=5)
