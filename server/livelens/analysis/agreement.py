"""How well what was attributed agrees with what was measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]


def average_ranks(values: F32) -> F64:
    """Ranks from 1 of values [n], ascending; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    means: F64 = last - (counts - 1) / 2.0
    return means[inverse]


def spearman(a: F32, b: F32) -> float | None:
    """Spearman's rank correlation of a and b [n]: Pearson's, of their ranks (ties averaged).

    None where there is none: fewer than three values, one of the two constant, or a value not finite.
    """
    if len(a) < 3 or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return None
    x, y = average_ranks(a), average_ranks(b)
    x, y = x - x.mean(), y - y.mean()
    norm = float(np.sqrt((x * x).sum() * (y * y).sum()))
    return float((x * y).sum()) / norm if norm > 0 else None


def sign_agreement(attributed: F32, measured: F32, *, n_strongest: int = 10) -> float | None:
    """Fraction of the `n_strongest` attributed, by magnitude, whose measured sign is the same; none of none."""
    order = np.argsort(-np.abs(attributed), kind="stable")[:n_strongest]
    if len(order) == 0:
        return None
    return float((np.sign(attributed[order]) == np.sign(measured[order])).mean())
