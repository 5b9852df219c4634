"""How much memory a run takes and how much there is."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from livelens.model.engine import Engine
from livelens.run.readout import CAPTURE_BUDGET_BYTES

_MEMINFO: Final = Path("/proc/meminfo")


def run_bytes(engine: Engine, n_positions: int, *, n_rows: int = 1) -> int:
    """Caches of a run of `n_positions` (with its twin: of two rows) and the captures that may wait at once, bytes."""
    return n_rows * engine.estimate_bytes(n_positions, frozenset()) + CAPTURE_BUDGET_BYTES // 4


def available_bytes() -> int | None:
    """Memory that can be had without swapping; none where the system does not say."""
    try:
        lines = _MEMINFO.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith("MemAvailable:"))
    return int(next(found, "0")) * 1024 or None
