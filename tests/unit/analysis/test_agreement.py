"""Rank correlation and sign agreement against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelens.analysis.agreement import average_ranks, sign_agreement, spearman


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


def test_equal_values_share_the_mean_of_their_ranks() -> None:
    assert average_ranks(f32(3, 1, 3, 2, 3)).tolist() == [4, 1, 4, 2, 4]


def test_without_ties_it_is_the_formula_of_squared_rank_differences() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=40).astype(np.float32), rng.normal(size=40).astype(np.float32)
    d = a.argsort().argsort() - b.argsort().argsort()
    assert spearman(a, b) == pytest.approx(1 - 6 * float((d * d).sum()) / (40 * (40**2 - 1)), abs=1e-12)


def test_with_ties_it_is_a_value_worked_out_by_hand() -> None:
    # ranks 1.5 1.5 3 4 and 1 2 3.5 3.5: centred -1 -1 .5 1.5 and -1.5 -.5 1 1; 4 / 4.5
    assert spearman(f32(1, 1, 2, 3), f32(0, 5, 9, 9)) == pytest.approx(4 / 4.5)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=3, max_size=30))
def test_only_the_order_counts_and_turning_it_round_turns_the_sign(values: list[float]) -> None:
    a = f32(*values)
    if len(set(values)) == 1:
        assert spearman(a, a) is None
        return
    ranked = average_ranks(a).astype(np.float32)
    assert spearman(a, ranked) == pytest.approx(1)
    assert spearman(a, -ranked) == pytest.approx(-1)


def test_there_is_none_of_too_few_or_broken_values() -> None:
    assert spearman(f32(1, 2), f32(1, 2)) is None
    assert spearman(f32(1, 2, np.nan), f32(1, 2, 3)) is None


def test_signs_are_compared_for_the_strongest_attributed_only() -> None:
    attributed, measured = f32(-9, 8, 0.1, 7), f32(-1, -1, -5, 1)
    assert sign_agreement(attributed, measured, n_strongest=3) == pytest.approx(2 / 3)
    assert sign_agreement(attributed, measured) == pytest.approx(2 / 4)
    assert sign_agreement(f32(), f32()) is None
