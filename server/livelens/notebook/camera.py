"""Where to stand so that the whole network is in the picture, and the rays of its pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from livelens.notebook.layout import F64, Blocks

FOV_DEGREES: Final = 34.0
# Azimuth and polar angle, radians: a little from the left and above
VIEWS: Final = {"three_quarter": (-0.42, 1.34), "front": (0.0, math.pi / 2)}
_MARGIN: Final = 0.02  # share of the picture left free at each edge


@dataclass(frozen=True, slots=True)
class Pose:
    """Camera and what it looks at, world units; up is y."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]

    @property
    def axes(self) -> tuple[F64, F64, F64]:
        """Right, up and backward (towards the camera), unit vectors."""
        back = np.subtract(self.position, self.target)
        back = back / np.linalg.norm(back)
        right = np.cross((0.0, 1.0, 0.0), back)
        size = np.linalg.norm(right)
        right = right / size if size > 1e-9 else np.array((1.0, 0.0, 0.0))  # from straight above
        return right, np.cross(back, right), back


def whole_network(blocks: Blocks) -> F64:
    """The corners of everything that is drawn, labels too: [n, 3]."""
    line = [
        (x, blocks.spine_y + dy) for x in (blocks.spine_from_x - 0.2, blocks.spine_to_x + 0.2) for dy in (-0.5, 0.4)
    ]
    width = blocks.n_layers * blocks.layer_pitch
    rows = [(x, y) for x in (-1.5, width + 0.2) for y in (blocks.panel_bottom, blocks.top + 0.15)]
    return np.array([(x, y, 0.0) for x, y in line + rows])


def fit_pose(points: F64, view: str, aspect: float) -> Pose:
    """The nearest pose in a view's direction from which all of `points` [n, 3] are in the picture.

    Exact: every edge of the picture is a plane through the camera (the page's `fit_pose`, in `framing.ts`).
    """
    azimuth, polar = VIEWS[view]
    towards = (math.sin(azimuth) * math.sin(polar), math.cos(polar), math.cos(azimuth) * math.sin(polar))
    right, up, back = Pose(towards, (0, 0, 0)).axes
    half_height = math.tan(math.radians(FOV_DEGREES) / 2) * (1 - 2 * _MARGIN)
    half_width = half_height * aspect
    x, y, z = points @ right, points @ up, points @ back
    sides = np.max(x + z * half_width), np.max(-x + z * half_width), np.max(y + z * half_height)
    to_right, to_left, to_top = (float(side) for side in sides)
    to_bottom = float(np.max(-y + z * half_height))
    depth = max((to_right + to_left) / (2 * half_width), (to_top + to_bottom) / (2 * half_height))
    depth = max(depth, float(np.max(z)) + 1e-3)
    centre = right * (to_right - to_left) / 2 + up * (to_top - to_bottom) / 2
    position, target = centre + back * depth, centre + back * float(np.mean(z))
    return Pose(_triple(position), _triple(target))


def _triple(vector: F64) -> tuple[float, float, float]:
    return float(vector[0]), float(vector[1]), float(vector[2])


def plane_points(pose: Pose, width: int, height: int) -> tuple[F64, F64]:
    """Where each pixel's ray meets the sheet: x and y [height, width], far outside where it does not."""
    right, up, back = pose.axes
    tan = math.tan(math.radians(FOV_DEGREES) / 2)
    across = (2 * (np.arange(width) + 0.5) / width - 1) * tan * width / height
    upward = (1 - 2 * (np.arange(height) + 0.5) / height) * tan
    # One axis at a time, for the arrays are large
    x, y, z = (across[None, :] * right[axis] + (upward * up[axis] - back[axis])[:, None] for axis in range(3))
    with np.errstate(divide="ignore"):
        distance = -pose.position[2] / z
    distance = np.where((distance > 0) & (distance < 1e6), distance, 1e6)
    return pose.position[0] + distance * x, pose.position[1] + distance * y
