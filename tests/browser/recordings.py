"""What tests know of a run's arrays and pictures, on the page and in Python."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Page

from livelens.recordings import open_recording

_CHECKSUMS = """async () => {
    const { history } = window.livelens.store;
    const found = {};
    for (const pos of history.positions()) {
        const step = history.get(pos);
        for (const name of Object.keys(step.tensors).sort()) {
            const { shape, values } = step.tensors[name];
            const bytes = new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
            const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
            const hex = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
            found[`${pos} ${name} ${shape.join("x")}`] = hex;
        }
    }
    return found;
}"""


def page_checksums(page: Page) -> dict[str, str]:
    """SHA-256 of every array that the page holds, by position, name and shape; float16 is held as float32."""
    return page.evaluate(_CHECKSUMS)  # type: ignore[no-any-return]


def file_checksums(path: Path) -> dict[str, str]:
    """The same, of a recording read in Python."""
    found = {}
    for step in open_recording(path).steps:
        for name, array in step.tensors.items():
            values = array.astype(np.float32) if array.dtype == np.float16 else array
            shape = "x".join(map(str, array.shape))
            found[f"{step.pos} {name} {shape}"] = hashlib.sha256(np.ascontiguousarray(values).tobytes()).hexdigest()
    return found


def share_of_differing_pixels(first: bytes, second: bytes, *, tolerance: int = 8) -> float:
    """Of two PNGs of one size: pixels of which some channel differs by more than `tolerance` of 255."""
    one, other = (png_pixels(data)[..., :3].astype(np.int16) for data in (first, second))
    assert one.shape == other.shape
    return float((np.abs(one - other).max(axis=-1) > tolerance).mean())


def png_pixels(data: bytes) -> NDArray[np.uint8]:
    """An 8-bit RGB or RGBA PNG without interlace as [height, width, channels]."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed, width, height, channels = 8, b"", 0, 0, 0
    while at < len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8 : at + 8 + size]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlace = struct.unpack(">IIBBBBB", body)
            channels = {2: 3, 6: 4}[colour]
            assert (depth, interlace) == (8, 0)
        elif kind == b"IDAT":
            packed += body
        at += 12 + size
    rows = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + width * channels)
    pixels = np.zeros((height + 1, width + 1, channels), np.uint8)  # a row and a column of zeros before the first
    for y, row in enumerate(rows, start=1):
        _unfilter(int(row[0]), row[1:].reshape(width, channels), pixels, y)
    return pixels[1:, 1:]


def _unfilter(kind: int, line: NDArray[np.uint8], pixels: NDArray[np.uint8], y: int) -> None:
    """One row of a PNG (its section 9), into `pixels` [y]."""
    above = pixels[y - 1, 1:]
    if kind in (0, 2):
        pixels[y, 1:] = line + above if kind == 2 else line
    elif kind == 1:
        pixels[y, 1:] = np.cumsum(line, axis=0, dtype=np.uint8)
    else:
        ups, corners = above.astype(int), pixels[y - 1, :-1].astype(int)
        left = np.zeros(line.shape[1], int)
        for x in range(len(line)):
            guess = (left + ups[x]) // 2 if kind == 3 else _paeth(left, ups[x], corners[x])
            left = (line[x] + guess) & 0xFF
            pixels[y, x + 1] = left


def _paeth(left: NDArray[np.int_], up: NDArray[np.int_], corner: NDArray[np.int_]) -> NDArray[np.int_]:
    estimate = left + up - corner
    by_left, by_up, by_corner = (np.abs(estimate - value) for value in (left, up, corner))
    return np.where((by_left <= by_up) & (by_left <= by_corner), left, np.where(by_up <= by_corner, up, corner))
