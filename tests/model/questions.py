"""Asking an engine questions about a run, as the analyst does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from tests.model.driving import masks_at
from tests.model.reference import Edit, Full, Reference

from livelens.model.frozen import MaskSegment
from livelens.model.replay import ModelParts
from livelens.model.tokens import Tokens
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import AnalysisProgress, Component, Metric

T = TypeVar("T")


def parts_of(engine: TorchEngine) -> ModelParts:
    """What questions need of an engine."""
    return ModelParts(
        model=engine.model,
        readout=engine._readout,
        weights=engine._weights,
        tokens=Tokens(engine._tokenizer),
        info=engine.info,
    )


def segments_of(edits: Sequence[Edit], n: int, engine: TorchEngine) -> list[MaskSegment]:
    """The segments of masks that hold over `n` positions."""
    starts = sorted({0, *(at for edit in edits for at in (edit.start, edit.stop) if at < n)})
    return [MaskSegment(from_pos=start, masks=masks_at(edits, start, engine.info)) for start in starts]


def metric_of(reference: Reference, full: Full, pos: int, target_id: int, distractor_id: int | None) -> Metric:
    """The metric with the reference's value."""
    return Metric(
        pos=pos,
        target_id=target_id,
        target_text="",
        distractor_id=distractor_id,
        distractor_text=None,
        value=reference.metric(full, pos, target_id, distractor_id),
    )


def answered(pieces: Iterator[AnalysisProgress | T]) -> tuple[list[AnalysisProgress], T]:
    """The progress of a question, and its answer, which must be the last of all."""
    *progress, answer = pieces
    assert all(isinstance(each, AnalysisProgress) for each in progress)
    assert not isinstance(answer, AnalysisProgress)
    done = [each.done for each in progress]
    assert done == sorted(done)
    assert all(each.done <= each.total for each in progress)
    return progress, answer


def output_of(full: Full, component: Component, n_heads: int) -> np.ndarray:
    """[position, width]: what one component gave in a reference's run."""
    at, index = component.layer, component.index
    match component.kind:
        case "head":
            z = full.z[at]
            return z.view(len(z), n_heads, -1)[:, index].numpy()
        case "neuron":
            return full.neurons[at][:, index : index + 1].numpy()
        case "attn":
            return full.attn_out[at].numpy()
        case "mlp":
            return full.mlp_out[at].numpy()


@contextmanager
def replaced(reference: Reference, component: Component, value: np.ndarray, span: slice) -> Iterator[None]:
    """Inside, the reference's model has `value` for a component's output at the positions of `span`."""
    block = reference.blocks[component.layer]
    attention, mlp = getattr(block, reference._attn), getattr(block, reference._mlp)
    new = torch.from_numpy(value)

    def put(tensor: torch.Tensor, where: slice) -> torch.Tensor:
        changed = tensor.clone()
        changed[:, span, where] = new
        return changed

    def before(where: slice) -> Callable[..., tuple[torch.Tensor, ...]]:
        return lambda module, args: (put(args[0], where), *args[1:])

    def after(module: object, args: object, output: object) -> object:
        if isinstance(output, tuple):
            return put(output[0], slice(None)), *output[1:]
        return put(output, slice(None))

    if component.kind == "head":
        w_o = getattr(attention, reference._w_o)
        width = reference.w_in_out(w_o).shape[0] // reference.n_heads
        handle = w_o.register_forward_pre_hook(before(slice(component.index * width, (component.index + 1) * width)))
    elif component.kind == "neuron":
        where = slice(component.index, component.index + 1)
        handle = getattr(mlp, reference._w_out).register_forward_pre_hook(before(where))
    elif component.kind == "attn":
        writer = getattr(block, reference._post_attn) if reference._post_attn else attention
        handle = writer.register_forward_hook(after)
    else:
        writer = getattr(block, reference._post_mlp) if reference._post_mlp else mlp
        handle = writer.register_forward_hook(after)
    try:
        yield
    finally:
        handle.remove()
