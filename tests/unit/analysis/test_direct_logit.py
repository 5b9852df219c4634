"""The pieces of direct logit attribution against their definitions."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from livelens.analysis.direct_logit import along_rows, head_write_factors, strongest, unembed_direction
from livelens.analysis.norms import NormWeights


def _rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _norm(*, is_centred: bool) -> NormWeights:
    return NormWeights(gain=_rand(12, seed=1), bias=_rand(12, seed=2), is_centred=is_centred, eps=1e-5)


def test_a_centred_norm_is_layer_norm() -> None:
    ours, module = _norm(is_centred=True), nn.LayerNorm(12, eps=1e-5)
    module.weight.data, module.bias.data = ours.gain, ours.bias
    stream = _rand(4, 12) + 3
    assert torch.allclose(ours.apply(stream), module(stream), atol=1e-5)


def test_an_uncentred_norm_is_rms_norm() -> None:
    weights = _norm(is_centred=False)
    ours = NormWeights(gain=weights.gain, bias=None, is_centred=False, eps=1e-5)
    module = nn.RMSNorm(12, eps=1e-5)
    module.weight.data = ours.gain
    stream = _rand(4, 12) + 3
    assert torch.allclose(ours.apply(stream), module(stream), atol=1e-5)


@pytest.mark.parametrize("is_centred", [True, False])
def test_pulled_back_terms_of_any_sum_add_up_to_the_normed_sum(is_centred: bool) -> None:
    norm, direction = _norm(is_centred=is_centred), _rand(12, seed=3)
    terms = _rand(6, 12, seed=4) * 5
    stream = terms.sum(0)
    through = norm.pull_back(direction, stream)
    total = (terms @ through).sum() + norm.bias_along(direction)
    assert float(total) == pytest.approx(float(norm.apply(stream) @ direction), rel=1e-5)


def test_stacked_norms_act_layer_by_layer() -> None:
    layers = [_norm(is_centred=True) for _ in range(3)]
    stacked = NormWeights(
        gain=torch.stack([n.gain * (i + 1) for i, n in enumerate(layers)]), bias=None, is_centred=True, eps=1e-5
    )
    streams, direction = _rand(3, 12), _rand(12, seed=5)
    for i, row in enumerate(stacked.pull_back(direction, streams)):
        alone = NormWeights(gain=layers[i].gain * (i + 1), bias=None, is_centred=True, eps=1e-5)
        assert torch.allclose(row, alone.pull_back(direction, streams[i]), atol=1e-6)


@pytest.mark.parametrize("n_directions", [1, 4])
@pytest.mark.parametrize("is_stacked", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_along_rows_is_each_rows_dot_with_its_layers_direction(
    n_directions: int, is_stacked: bool, dtype: torch.dtype
) -> None:
    weights, directions = _rand(3, 10, 12).to(dtype), _rand(3, n_directions, 12)
    found = along_rows(weights if is_stacked else list(weights), directions)
    expected = torch.einsum("lrd,lnd->lnr", weights.float(), directions)
    assert found.dtype == torch.float32
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("d_head", [4, 20])
def test_head_write_factors_keep_every_norm(d_head: int) -> None:
    """Also where heads are wider than the stream."""
    weight, z = _rand(3 * d_head, 12), _rand(3, d_head, seed=6)
    written = torch.einsum("hd,hdm->hm", z, weight.view(3, d_head, 12))
    factors = head_write_factors(weight, n_heads=3)
    assert torch.allclose((factors @ z[..., None])[..., 0].norm(dim=-1), written.norm(dim=-1), rtol=1e-5)


def test_strongest_are_the_largest_magnitudes_in_order() -> None:
    values = torch.tensor([[0.5, -3.0], [2.0, -0.1]])
    indices, found = strongest(values, 3)
    assert (indices.tolist(), found.tolist()) == ([1, 2, 0], [-3.0, 2.0, 0.5])
    assert strongest(values, 99)[0].numel() == 4


def test_without_a_distractor_the_direction_is_from_the_mean() -> None:
    unembed = _rand(7, 12)
    stream, mean = _rand(12, seed=9), unembed.mean(0)
    towards = unembed_direction(unembed, mean, target_id=3, distractor_id=None)
    logits = unembed @ stream
    assert float(towards @ stream) == pytest.approx(float(logits[3] - logits.mean()), abs=1e-5)
    between = unembed_direction(unembed, mean, target_id=3, distractor_id=5)
    assert float(between @ stream) == pytest.approx(float(logits[3] - logits[5]), abs=1e-5)
