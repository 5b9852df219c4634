"""Linear modules that read the same tensor, multiplied together while one token is decoded on a CPU.

Decoding one token waits for memory, and how fast a product reads its weights depends on how they lie.
Measured on two cores (float32, 576 to 1536): one weight a call as torch keeps it, [out, in], 14 GB/s; as
[in, out] 20; gate and up side by side as one [in, 2 * out] 24, the speed of memory. So the weights of
such siblings move into one [in, sum of out] matrix, of which each parameter stays a view: no second
copy, the same modules, the same parameters, hooks and all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle


class _Siblings:
    """Several linear modules' weights as one, and the product that the first of them to be called leaves the others."""

    def __init__(self, modules: list[nn.Linear]) -> None:
        self._widths = [module.out_features for module in modules]
        self._weight = torch.cat([module.weight.detach().T for module in modules], dim=1)
        for module, part in zip(modules, torch.split(self._weight, self._widths, dim=1), strict=True):
            module.weight.data = part.T
        self._input: Tensor | None = None
        self._outputs: dict[int, Tensor] = {}

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return self  # the copy's parameters are the same ones: see `bridge.build_bridge`

    def output(self, index: int, stream: Tensor) -> Tensor:
        """What sibling `index` makes of `stream`, its bias apart."""
        if self._input is not stream or index not in self._outputs:
            self._outputs = dict(enumerate(torch.split(torch.matmul(stream, self._weight), self._widths, dim=-1)))
            self._input = stream
        output = self._outputs.pop(index)
        if not self._outputs:
            self._input = None
        return output


class _SiblingLinear(nn.Linear):
    """What a linear module becomes: for one row without gradients the siblings' product, else its own."""

    siblings: _Siblings
    sibling_index: int

    def forward(self, input: Tensor) -> Tensor:
        if input.numel() != self.in_features or torch.is_grad_enabled():
            return functional.linear(input, self.weight, self.bias)
        output = self.siblings.output(self.sibling_index, input)
        bias: Tensor | None = self.bias
        return output if bias is None else output + bias


def join_siblings(model: nn.Module, run: Callable[[], object]) -> None:
    """Join the linear modules of `model` that read the same tensor when `run` runs it. On a CPU, float32; else nothing.

    Modules of other classes (quantised, LoRA) and ones that share their weight with another stay as they are.
    """
    for group in _groups(model, run):
        with torch.inference_mode(mode=False):  # else nothing could ever be differentiated through them
            siblings = _Siblings(group)
        for index, module in enumerate(group):
            module.__class__ = _SiblingLinear
            joined = cast("_SiblingLinear", module)
            joined.siblings, joined.sibling_index = siblings, index


def _groups(model: nn.Module, run: Callable[[], object]) -> list[list[nn.Linear]]:
    """Modules by the tensor they read, in the order of their calls; only where two or more read it."""
    readers: list[tuple[Tensor, list[nn.Linear]]] = []

    def note(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not isinstance(module, nn.Linear):
            return
        if not readers or readers[-1][0] is not args[0]:
            readers.append((args[0], []))
        readers[-1][1].append(module)

    handles: list[RemovableHandle] = []
    try:
        handles = [module.register_forward_pre_hook(note) for module in _joinable(model)]
        with torch.inference_mode():
            run()
    finally:
        for handle in handles:
            handle.remove()
    groups = [group for _, group in readers if len(set(group)) > 1]
    called = [module for _, group in readers for module in group]
    return [group for group in groups if all(called.count(module) == 1 for module in group)]


def _joinable(model: nn.Module) -> Iterable[nn.Linear]:
    uses: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        uses[id(parameter)] = uses.get(id(parameter), 0) + 1
    for module in model.modules():
        if type(module) is nn.Linear and uses[id(module.weight)] == 1:
            weight = module.weight
            if weight.device.type == "cpu" and weight.dtype == torch.float32:
                yield module
