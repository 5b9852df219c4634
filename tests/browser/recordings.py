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
    return dict(page.evaluate(_CHECKSUMS))


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
    return _unfiltered(rows[:, 0], rows[:, 1:].reshape(height, width, channels))


def _unfiltered(kinds: NDArray[np.uint8], differences: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Section 9 of the PNG standard, one diagonal at a time: its pixels lean on the two diagonals before it only."""
    height, width, channels = differences.shape
    flat, padded = differences.reshape(-1, channels), width + 1
    pixels = np.zeros(((height + 1) * padded, channels), np.int16)  # with a row and a column of zeros before the first
    for diagonal in range(height + width - 1):
        first, stop = max(0, diagonal - width + 1), min(height, diagonal + 1)
        down = np.arange(first, stop)  # and as many columns to the left: both steps are even ones
        read, write = _even(down * (width - 1) + diagonal), (down + 1) * padded + diagonal - down + 1
        left, up, corner = (pixels[_even(write - back)] for back in (1, padded, padded + 1))
        guesses = (np.zeros_like(left), left, up, (left + up) // 2, _paeth(left, up, corner))
        pixels[_even(write)] = (flat[read] + np.choose(kinds[first:stop, None], guesses)) & 0xFF
    return pixels.reshape(height + 1, padded, channels)[1:, 1:].astype(np.uint8)


def _even(places: NDArray[np.int_]) -> slice:
    """Evenly spaced places as a slice, which copies nothing."""
    step = int(places[1] - places[0]) if len(places) > 1 else 1
    return slice(int(places[0]), int(places[-1]) + 1, step)


def _paeth(left: NDArray[np.int16], up: NDArray[np.int16], corner: NDArray[np.int16]) -> NDArray[np.int16]:
    """Whichever of the three is nearest to left + up - corner."""
    by_left, by_up, by_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    return np.where((by_left <= by_up) & (by_left <= by_corner), left, np.where(by_up <= by_corner, up, corner))
