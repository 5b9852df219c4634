"""A rank-1 edit in plain Hugging Face, two other ways: a hook of our own at some positions, and the weights changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from tests.model.reference import Reference
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from livelens.model.operations import WeightEdit


def matrix_of(reference: Reference, edit: WeightEdit) -> nn.Module:
    """The module of W_out or W_O."""
    block = reference.blocks[edit.layer]
    owner, name = (
        (getattr(block, reference._mlp), reference._w_out)
        if edit.matrix == "mlp_out"
        else (getattr(block, reference._attn), reference._w_o)
    )
    module = getattr(owner, name)
    assert isinstance(module, nn.Module)
    return module


@contextmanager
def hooked_by_hand(reference: Reference, edit: WeightEdit, amount: float, held: Tensor) -> Iterator[None]:
    """Inside, at the positions `held` [n], the matrix multiplies as if it were edited."""
    key, value = torch.from_numpy(edit.key), torch.from_numpy(edit.value)

    def hook(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output + held[:, None] * (args[0] @ key)[..., None] * (amount * value)

    handle = matrix_of(reference, edit).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def with_weights_changed(reference: Reference, edit: WeightEdit, amount: float) -> Reference:
    """A copy of the model whose matrix is really W + amount * value key^T."""
    copied = copy.deepcopy(reference)
    module = matrix_of(copied, edit)
    change = amount * torch.outer(torch.from_numpy(edit.value), torch.from_numpy(edit.key))
    with torch.no_grad():
        module.weight += change.T if isinstance(module, Conv1D) else change
    return copied
