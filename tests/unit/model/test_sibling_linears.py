"""Linear modules joined for decoding: the same modules and numbers, one copy of the weights."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from livelens.model.sibling_linears import join_siblings


class _Layer(nn.Module):
    """Three modules that read one tensor, one of them narrow and biased, and one that reads what they made."""

    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(8, 8, bias=False)
        self.key = nn.Linear(8, 4)
        self.value = nn.Linear(8, 4, bias=False)
        self.out = nn.Linear(8, 8, bias=False)

    def forward(self, stream: Tensor) -> Tensor:
        parts = [self.query(stream), self.key(stream).repeat(1, 2), self.value(stream).repeat(1, 2)]
        return stream + self.out(parts[0] * parts[1] + parts[2])


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(_Layer(), _Layer()).requires_grad_(False)


def _join(model: nn.Module) -> None:
    join_siblings(model, lambda: model(torch.randn(3, 8)))


def test_the_joined_model_computes_what_it_did() -> None:
    model, joined = _model(), _model()
    _join(joined)
    with torch.inference_mode():
        for n_rows in (1, 1, 3, 1):
            stream = torch.randn(n_rows, 8)
            torch.testing.assert_close(joined(stream), model(stream), rtol=1e-5, atol=1e-6)


def test_parameters_stay_the_same_objects_and_views_of_one_copy() -> None:
    model = _model()
    before = {name: parameter for name, parameter in model.named_parameters()}
    values = {name: parameter.clone() for name, parameter in before.items()}
    _join(model)
    assert {name: id(parameter) for name, parameter in model.named_parameters()} == {
        name: id(parameter) for name, parameter in before.items()
    }
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, values[name])
    layer = model[0]
    assert isinstance(layer, _Layer)
    storages = [module.weight.untyped_storage().data_ptr() for module in (layer.query, layer.key, layer.value)]
    assert len(set(storages)) == 1
    assert layer.out.weight.untyped_storage().data_ptr() != storages[0]


def test_a_change_of_the_weights_is_seen_and_gradients_flow() -> None:
    model = _model()
    _join(model)
    layer = model[0]
    assert isinstance(layer, _Layer)
    stream = torch.randn(1, 8)
    with torch.no_grad():
        layer.key.weight.mul_(2.0)
        assert torch.allclose(layer.key(stream), stream @ layer.key.weight.T + layer.key.bias, atol=1e-6)
    stream.requires_grad_(True)
    model(stream).sum().backward()
    assert stream.grad is not None
    assert float(stream.grad.abs().sum()) > 0


def test_one_sibling_alone_and_twice_and_in_another_order() -> None:
    model = _model()
    _join(model)
    layer = model[0]
    assert isinstance(layer, _Layer)
    with torch.inference_mode():
        first, second = torch.randn(1, 8), torch.randn(1, 8)
        expected = {id(module): module.weight @ first[0] for module in (layer.query, layer.value)}
        for module in (layer.value, layer.value, layer.query):
            assert torch.allclose(module(first)[0], expected[id(module)], atol=1e-6)
            module(second)


def test_a_copy_over_the_same_parameters_computes_the_same() -> None:
    model = _model()
    _join(model)
    twin = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    with torch.inference_mode():
        stream = torch.randn(1, 8)
        assert torch.equal(twin(stream), model(stream))
