"""Composition scores against matrices multiplied out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from livelens.analysis.composition import composition_scores, product_norms


def _rand(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("d_head", [1, 4, 16])
def test_scores_are_norms_of_the_products(d_head: int) -> None:
    value, output = _rand(3, 16, d_head, seed=0), _rand(3, d_head, 16, seed=1)
    readers = [(_rand(16, d_head, seed=2), _rand(d_head, 16, seed=3)), (_rand(16, 2, seed=4), _rand(2, 16, seed=5))]
    scores = composition_scores((value, output), readers)
    for row, (into, onward) in zip(scores, readers, strict=True):
        for score, v, o in zip(row, value, output, strict=True):
            expected = (v @ o @ into @ onward).norm() / (v @ o).norm() / (into @ onward).norm()
            assert float(score) == pytest.approx(float(expected), rel=1e-4)


def test_a_writer_whose_whole_output_is_read_scores_one_and_an_orthogonal_one_nothing() -> None:
    onto, beside = torch.eye(8)[:, :1], torch.eye(8)[:, 1:2]
    writers = torch.stack([_rand(8, 1, seed=6)] * 2), torch.stack([onto.T, beside.T])
    scores = composition_scores(writers, [(onto, onto.T)])[0]
    assert scores.tolist() == pytest.approx([1.0, 0.0], abs=1e-6)


def test_nothing_feeds_and_is_fed_by_a_head_that_was_cut_away() -> None:
    zero = torch.zeros(8, 2)
    assert composition_scores((zero[None], zero.T[None]), [(_rand(8, 2, seed=7), zero.T)]).tolist() == [[0.0]]


def test_the_norm_of_a_product_is_had_without_it() -> None:
    left, right = _rand(5, 9, 3, seed=8), _rand(5, 3, 7, seed=9)
    assert torch.allclose(product_norms(left, right), torch.linalg.matrix_norm(left @ right), rtol=1e-4)
