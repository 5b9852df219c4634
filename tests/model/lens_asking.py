"""Asking the lens analyst about a position of a run, and comparing arrays."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
from tests.model.driving import masks_at
from tests.model.families import D_VOCAB
from tests.model.questions import answered, parts_of
from tests.model.reference import Edit, Reference

from livelens.model.engine import AnalysisContext, ContextSegment
from livelens.model.lens_analyst import LensAnalyst
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    LensAnswer,
    LensQuestion,
    Tensor,
)
from livelens.protocol.tensors import reconstruct

Tiny = Callable[[str], TorchEngine]
TinyReference = Callable[[str], Reference]
EDITS = (Edit(start=3, stop=100, heads={(0, 1): 0.0}, attn={1: 0.5}, mlp={2: 0.25}),)
RUN = {"request_id": 3, "run_id": "r"}
PROMPT = "When Mary and John went to the store, John gave a drink to"


def tokens_of(family: str, n: int = 12) -> list[int]:
    return random.Random(family).sample(range(3, D_VOCAB), n)


def context_of(engine: TorchEngine, ids: Sequence[int], edits: Sequence[Edit] = ()) -> AnalysisContext:
    """A run of `ids` of which all but the last was computed, under `edits`."""
    starts = sorted({0, *(at for edit in edits for at in (edit.start, edit.stop) if at < len(ids))})
    segments = tuple(
        ContextSegment(from_pos=start, revision=i, masks=masks_at(edits, start, engine.info))
        for i, start in enumerate(starts)
    )
    return AnalysisContext(token_ids=tuple(ids), n_prompt=2, n_positions=len(ids) - 1, segments=segments)


def ask(engine: TorchEngine, question: LensQuestion, context: AnalysisContext) -> LensAnswer:
    _, answer = answered(LensAnalyst(parts_of(engine)).answer(question, context))
    assert engine.hooks_left() == 0
    return answer


def array(tensor: Tensor) -> np.ndarray:
    return reconstruct(tensor)


def close(ours: np.ndarray, theirs: np.ndarray, tolerance: float = 1e-4) -> None:
    assert ours.shape == theirs.shape
    assert float(np.abs(ours - theirs).max()) <= tolerance * max(1.0, float(np.abs(theirs).max()))
