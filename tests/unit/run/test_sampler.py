"""Choosing the next token."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from livelens.protocol.messages import Sampling
from livelens.run.sampler import Sampler, candidates

logits_of = arrays(np.float32, st.integers(2, 40), elements=st.floats(-30, 30, width=32))


@given(logits_of)
def test_greedy_is_argmax(logits: np.ndarray) -> None:
    assert Sampler(Sampling()).choose(logits) == int(logits.argmax())


@given(logits_of, st.floats(0.01, 5), st.integers(0, 50), st.floats(0.01, 1))
def test_candidates_are_the_likeliest_and_sum_to_one(
    logits: np.ndarray, temperature: float, top_k: int, top_p: float
) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p)
    ids, probs = candidates(logits, sampling)
    assert 1 <= len(ids) <= (min(top_k, len(logits)) if top_k else len(logits))
    assert probs.sum() == pytest.approx(1)
    left_out = np.setdiff1d(np.arange(len(logits)), ids)
    assert left_out.size == 0 or logits[ids].min() >= logits[left_out].max()


def test_top_p_keeps_the_smallest_set_that_reaches_it() -> None:
    logits = np.log(np.array([0.1, 0.5, 0.4], np.float32))
    assert list(candidates(logits, Sampling(temperature=1, top_p=0.49))[0]) == [1]
    assert list(candidates(logits, Sampling(temperature=1, top_p=0.51))[0]) == [1, 2]
    assert list(candidates(logits, Sampling(temperature=1, top_p=1))[0]) == [1, 2, 0]


def test_frequencies_follow_the_probabilities() -> None:
    logits = np.log(np.array([0.1, 0.6, 0.3], np.float32))
    sampler = Sampler(Sampling(temperature=1, seed=5))
    counts = np.bincount([sampler.choose(logits) for _ in range(20_000)], minlength=3) / 20_000
    assert counts == pytest.approx([0.1, 0.6, 0.3], abs=0.02)


def test_the_same_seed_draws_the_same_and_restart_begins_again() -> None:
    logits = np.zeros(50, np.float32)
    first, second = Sampler(Sampling(temperature=1, seed=9)), Sampler(Sampling(temperature=1, seed=9))
    drawn = [first.choose(logits) for _ in range(20)]
    assert drawn == [second.choose(logits) for _ in range(20)]
    first.restart()
    assert drawn == [first.choose(logits) for _ in range(20)]
    other = Sampler(Sampling(temperature=1, seed=10))
    assert drawn != [other.choose(logits) for _ in range(20)]


@pytest.mark.parametrize("temperature", [1e-300, 1e-9, 100.0])
def test_extreme_temperatures_are_harmless(temperature: float) -> None:
    logits = np.array([-1e30, 5, 4.999, -3], np.float32)
    chosen = Sampler(Sampling(temperature=temperature, seed=1)).choose(logits)
    assert chosen == 1 if temperature < 1 else chosen in range(4)
