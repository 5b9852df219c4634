"""The entropy of each head's row is that of plain Hugging Face's attentions."""

from __future__ import annotations

import pytest
import torch
from tests.model.families import FAMILIES, N_HEADS, N_LAYERS
from tests.model.lens_asking import EDITS, PROMPT, RUN, Tiny, TinyReference, array, ask, close, context_of, tokens_of
from tests.model.reference import Full, Reference

from livelens.model.engine import AnalysisContext
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    AttentionEntropyReady,
    RequestAttentionEntropy,
)


def assert_entropy(answer: AttentionEntropyReady, full: Full, pos: int) -> None:
    rows = torch.stack([pattern[:, pos, : pos + 1] for pattern in full.pattern]).double()
    close(array(answer.entropy), torch.special.entr(rows).sum(-1).numpy(), 1e-3)
    weights = array(answer.top_weight)
    close(weights, rows.amax(-1).numpy())
    there = rows.gather(-1, torch.from_numpy(array(answer.top_key)).long()[..., None])[..., 0]
    close(weights, there.numpy())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_entropy_is_that_of_each_heads_row(tiny: Tiny, tiny_reference: TinyReference, family: str) -> None:
    engine, reference, ids = tiny(family), tiny_reference(family), tokens_of(family)
    full = reference.run(ids, EDITS)
    for pos in (0, 5, 10):
        answer = ask(engine, RequestAttentionEntropy(**RUN, pos=pos), context_of(engine, ids, EDITS))
        assert isinstance(answer, AttentionEntropyReady)
        assert array(answer.entropy).shape == (N_LAYERS, N_HEADS)
        assert_entropy(answer, full, pos)


def test_the_shipped_models_entropy_is_that_of_output_attentions(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    ids = shipped.tokenize(PROMPT, apply_chat_template=False)
    context = AnalysisContext(token_ids=tuple(ids), n_prompt=len(ids), n_positions=len(ids), segments=())
    answer = ask(shipped, RequestAttentionEntropy(**RUN, pos=len(ids) - 1), context)
    assert isinstance(answer, AttentionEntropyReady)
    assert_entropy(answer, shipped_reference.run(ids), len(ids) - 1)
