"""Rows of the output matrices by token: what is kept is what would be read, whatever came before it."""

from __future__ import annotations

import pytest
import torch

from livelens.analysis.direct_logit import unembed_direction
from livelens.analysis.norms import NormWeights
from livelens.model import direction_rows
from livelens.model.direction_rows import DirectionRows, OutputRows

N_LAYERS, D_MODEL, N_HEAD_ROWS, D_MLP, D_VOCAB = 3, 8, 6, 20, 40


class World:
    """Random weights, and the rows by hand."""

    def __init__(self, *, is_centred: bool = False) -> None:
        draw = torch.Generator().manual_seed(1)
        self.head_output = torch.randn(N_LAYERS, N_HEAD_ROWS, D_MODEL, generator=draw)
        self.neuron_output = torch.randn(N_LAYERS, D_MLP, D_MODEL, generator=draw)
        self.unembed = torch.randn(D_VOCAB, D_MODEL, generator=draw)
        self.norm = NormWeights(gain=torch.randn(D_MODEL, generator=draw), bias=None, is_centred=is_centred, eps=1e-5)

    def rows(self, *, may_keep: bool = True) -> DirectionRows:
        return DirectionRows(
            self.head_output,
            self.neuron_output,
            unembed=self.unembed,
            unembed_mean=self.unembed.mean(0),
            final_norm=self.norm,
            may_keep=may_keep,
        )

    def by_hand(self, stream: torch.Tensor, target_id: int, distractor_id: int | None) -> tuple[torch.Tensor, ...]:
        direction = unembed_direction(
            self.unembed, self.unembed.mean(0), target_id=target_id, distractor_id=distractor_id
        )
        through = self.norm.pull_back(direction, stream)
        return self.head_output @ through, self.neuron_output @ through


def same(one: OutputRows, other: OutputRows) -> bool:
    return torch.equal(one.heads, other.heads) and torch.equal(one.neurons, other.neurons)


@pytest.mark.parametrize("is_centred", [False, True])
@pytest.mark.parametrize("distractor_id", [None, 7])
def test_over_the_norms_scale_they_are_the_rows_along_the_pulled_back_direction(
    is_centred: bool, distractor_id: int | None
) -> None:
    world = World(is_centred=is_centred)
    rows, stream = world.rows(), torch.randn(D_MODEL, generator=torch.Generator().manual_seed(2))
    for target_ids in ([3], [3, 9, 3, 30], [3]):
        for target_id, found in zip(target_ids, rows.of(target_ids, distractor_id), strict=True):
            heads, neurons = world.by_hand(stream, target_id, distractor_id)
            scale = world.norm.scale(stream)
            torch.testing.assert_close(found.heads / scale, heads, rtol=1e-5, atol=1e-6)
            torch.testing.assert_close(found.neurons / scale, neurons, rtol=1e-5, atol=1e-6)


def test_what_came_before_changes_no_bit() -> None:
    world = World()
    fresh = {target_id: world.rows().of([target_id], None)[0] for target_id in (3, 9)}
    rows = world.rows()
    several = rows.of([9, 3], None)
    for target_id in (3, 9, 3, 9):
        assert same(rows.of([target_id, target_id], None)[1], fresh[target_id])
    assert all(same(one, other) for one, other in zip(rows.of([9, 3], None), several, strict=True))
    assert not same(rows.of([3], 9)[0], fresh[3])


def test_a_token_that_comes_again_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """And of many tokens the newest are kept, within the bytes that there are."""
    world = World()
    rows, n_reads = world.rows(), 0
    along_rows = direction_rows.along_rows

    def counted(weights: torch.Tensor, directions: torch.Tensor) -> torch.Tensor:
        nonlocal n_reads
        n_reads += 1
        return along_rows(weights, directions)

    monkeypatch.setattr(direction_rows, "along_rows", counted)
    monkeypatch.setattr(direction_rows, "_MAX_BYTES", 3 * rows.of([0], None)[0].n_bytes)
    read = []
    for target_id in (0, 1, 2, 0, 3, 0, 1):  # the third new one after 1 takes its place
        before = n_reads
        rows.of([target_id], None)
        read.append(n_reads > before)
    assert read == [False, True, True, False, True, False, True]


def test_weights_that_somebody_else_may_change_are_read_each_time() -> None:
    world = World()
    rows = world.rows(may_keep=False)
    [before] = rows.of([3], None)
    world.neuron_output *= 2
    [after] = rows.of([3], None)
    assert torch.equal(after.neurons, 2 * before.neurons) and torch.equal(after.heads, before.heads)
