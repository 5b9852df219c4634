"""One measured number and whether it holds; nothing here measures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A line of `livelens bench --json`.

    `target` is a bound: at least where `at_least`, else at most; none for a number that is only shown.
    `value` is NaN where it could not be measured here, and `note` says why.
    """

    name: str
    value: float
    unit: str
    target: float | None = None
    at_least: bool = False
    note: str = ""

    @property
    def holds(self) -> bool | None:
        """The target is met; none where there is no target or no value."""
        if self.target is None or math.isnan(self.value):
            return None
        return self.value >= self.target if self.at_least else self.value <= self.target

    def as_json(self) -> dict[str, object]:
        """`name value unit target holds`, and a note where there is one; NaN becomes null."""
        line = asdict(self)
        line.pop("at_least")
        note = line.pop("note")
        if math.isnan(self.value):
            line["value"] = None
        line["holds"] = self.holds
        if note:
            line["note"] = note
        return line


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that `percent` of the values do not pass; NaN of nothing."""
    if not values:
        return math.nan
    return sorted(values)[min(len(values) - 1, math.ceil(percent / 100 * len(values)) - 1)]


def median_ratio(numerators: Sequence[float], denominators: Sequence[float]) -> float:
    """The median of the pairwise ratios: pairs ran one after the other, so drift cancels."""
    return statistics.median(a / b for a, b in zip(numerators, denominators, strict=True))
