"""The pattern scores and the copying score of heads made by hand."""

from __future__ import annotations

import pytest
import torch

from livelens.analysis.head_scores import copying_scores, pattern_scores

# A text said twice after a first token: query 5 + i is the same as 1 + i.
TEXT = [0, 11, 12, 13, 14, 11, 12, 13, 14]


def _looking_at(keys: dict[int, int]) -> torch.Tensor:
    """A head that looks at `keys[query]`, and at the first token where nothing is said."""
    pattern = torch.zeros(len(TEXT), len(TEXT))
    for query in range(len(TEXT)):
        pattern[query, keys.get(query, 0)] = 1.0
    return pattern


def test_a_head_of_each_kind_scores_one_for_its_kind_only() -> None:
    heads = torch.stack(
        [
            _looking_at({query: query - 1 for query in range(1, 9)}),
            _looking_at({query: query - 4 for query in range(5, 9)}),
            _looking_at({query: query - 3 for query in range(5, 9)}),
            _looking_at({}),
        ]
    )
    scores = pattern_scores(heads, TEXT)
    # With nothing better to look at the others look at the first token, which comes just before the second.
    assert scores.previous_token.tolist() == pytest.approx([1, 1 / 8, 1 / 8, 1 / 8])
    assert scores.duplicate_token.tolist() == pytest.approx([0, 1, 0, 0])
    assert scores.induction.tolist() == pytest.approx([0, 0, 1, 0])


def test_attention_that_is_spread_counts_for_its_share() -> None:
    half = 0.5 * _looking_at({query: query - 3 for query in range(5, 9)}) + 0.5 * _looking_at({})
    assert pattern_scores(half[None], TEXT).induction.tolist() == pytest.approx([0.5])


def test_a_text_without_repeats_gives_nobody_a_score() -> None:
    scores = pattern_scores(torch.full((2, 4, 4), 0.25).tril(), [1, 2, 3, 4])
    assert scores.induction.tolist() == scores.duplicate_token.tolist() == [0, 0]


def test_copying_is_one_for_a_head_that_writes_what_it_reads_and_minus_one_for_its_opposite() -> None:
    read = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    value, output = torch.stack([read, read]), torch.stack([read.T, -read.T])
    assert copying_scores(value, output, torch.eye(6)).tolist() == pytest.approx([1.0, -1.0], abs=1e-5)


def test_a_head_that_turns_what_it_reads_copies_nothing() -> None:
    turn = torch.tensor([[0.0, 1.0], [-1.0, 0.0]])  # eigenvalues +-i
    assert copying_scores(torch.eye(2)[None], turn[None], torch.eye(2)).tolist() == pytest.approx([0.0], abs=1e-6)
