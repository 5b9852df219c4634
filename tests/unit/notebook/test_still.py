"""The still picture, and where its camera stands."""

from __future__ import annotations

import base64
import struct
import zlib

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.unit.notebook.projected import pixel_of
from tests.unit.notebook.scenes import PROMPT, colours

from livelens.library.live_view import LiveView
from livelens.notebook.camera import VIEWS, fit_pose, whole_network
from livelens.notebook.layout import build_blocks, rect_of
from livelens.protocol.components import parse_component


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
    assert set(bundle) == {"text/plain", "application/vnd.jupyter.widget-view+json", "image/png"}
    assert "widgets" in str(bundle["text/plain"]) and "picture" in str(bundle["text/plain"])
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
