"""Where a point of the sheet is in a picture."""

from __future__ import annotations

import numpy as np

from livelens.notebook.camera import FOV_DEGREES, Pose


def pixel_of(pose: Pose, width: int, height: int, x: float, y: float) -> tuple[int, int]:
    """Column and row of the pixel."""
    right, up, back = pose.axes
    to = np.array([x, y, 0]) - np.array(pose.position)
    scale = height / 2 / np.tan(np.radians(FOV_DEGREES) / 2) / -(to @ back)
    return int(width / 2 + scale * (to @ right)), int(height / 2 - scale * (to @ up))
