"""A rank-1 edit made once more: plain Hugging Face and autograd, numpy for the key. Nothing of livelens in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from tests.model.reference import Reference
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class ByHand:
    """key [d_in], value [d_model], the loss before each step."""

    key: np.ndarray
    value: Tensor
    losses: list[float]


@torch.no_grad()
def into_matrix(reference: Reference, module: nn.Module, ids: Sequence[int]) -> tuple[Tensor, Tensor]:
    """[n, d_in] and [n, d_model]: what goes into a module and comes out of it."""
    kept: list[tuple[Tensor, Tensor]] = []
    handle = module.register_forward_hook(lambda module, args, output: kept.append((args[0][0], output[0])))
    reference.model(torch.tensor([list(ids)]), use_cache=False)
    handle.remove()
    return kept[0]


def rome(
    reference: Reference,
    module: nn.Module,
    rows: Sequence[tuple[Sequence[int], int]],
    wanted: Sequence[int],
    texts: Sequence[Sequence[int]],
    *,
    ridge: float,
    n_steps: int,
    learning_rate: float,
    weight_decay: float,
    clamp: float,
) -> ByHand:
    """rows: tokens of the prompt and its prefixed forms, each with the subject's last position; texts: for C."""
    inside = [into_matrix(reference, module, ids) for ids, _ in rows]
    keys = [read[pos].double().numpy() for (read, _), (_, pos) in zip(inside, rows, strict=True)]
    key = np.mean(keys, axis=0)
    if texts:
        seen = np.concatenate([into_matrix(reference, module, ids)[0].double().numpy() for ids in texts])
        second = seen.T @ seen / len(seen)
        key = np.linalg.solve(second + ridge * np.diag(second).mean() * np.eye(len(second)), key)
    key = key / (keys[0] @ key)
    target = inside[0][1][rows[0][1]].norm()
    value = torch.zeros(len(inside[0][1][0]), requires_grad=True)
    adam, losses = torch.optim.Adam([value], lr=learning_rate), []
    for _ in range(n_steps):
        loss = weight_decay * value.norm() / target**2 if value.norm() > 0 else torch.zeros(())
        for ids, pos in rows:
            loss = loss + _surprise(reference, module, ids, pos, wanted, value) / len(rows)
        losses.append(float(loss.detach()))
        if losses[-1] < 0.05:
            break
        adam.zero_grad()
        loss.backward()
        adam.step()
        with torch.no_grad():
            value *= min(1.0, float(clamp * target / value.detach().norm()))
    return ByHand(key=key, value=value.detach(), losses=losses)


def _surprise(
    reference: Reference, module: nn.Module, ids: Sequence[int], pos: int, wanted: Sequence[int], value: Tensor
) -> Tensor:
    def add(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
        at = torch.zeros(output.shape[1], 1)
        at[pos] = 1
        return output + at * value

    handle = module.register_forward_hook(add)
    logits = reference.model(torch.tensor([[*ids, *wanted[:-1]]]), use_cache=False).logits[0, len(ids) - 1 :]
    handle.remove()
    return -logits.log_softmax(-1)[torch.arange(len(wanted)), torch.tensor(list(wanted))].mean()
