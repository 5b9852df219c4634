"""logit_statistics against the definitions, over random and awkward rows."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from livelens.analysis.lens import logit_statistics


@given(seed=st.integers(0, 2**31), n_columns=st.sampled_from([2, 7, 32, 257, 512, 600]), spread=st.floats(0.01, 50))
@settings(max_examples=80, deadline=None)
def test_statistics_equal_their_definitions(seed: int, n_columns: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, n_columns, generator=generator) * spread
    before = logits.clone()
    chosen = seed % n_columns
    found = logit_statistics(logits, chosen)
    logprobs = logits.double().log_softmax(-1)
    probs = logprobs.exp()
    assert torch.equal(logits, before), "the input was changed"
    assert torch.equal(found.token_id, logits.argmax(-1))
    assert found.prob.double() == pytest.approx(probs.max(-1).values, rel=1e-4)
    assert found.entropy.double() == pytest.approx(-(probs * logprobs).sum(-1), rel=1e-3, abs=1e-5)
    assert found.logprob.double() == pytest.approx(logprobs[:, chosen], rel=1e-4, abs=1e-4)
    assert torch.equal(found.rank, (logits > logits[:, [chosen]]).sum(-1))


def test_equal_logits_share_the_better_rank_and_the_first_is_the_top() -> None:
    found = logit_statistics(torch.tensor([[1.0, 3.0, 3.0, 0.0]]), 2)
    assert (int(found.rank), int(found.token_id)) == (0, 1)
    assert float(found.entropy) < float(torch.log(torch.tensor(4.0)))


def test_impossible_tokens_have_no_part() -> None:
    found = logit_statistics(torch.tensor([[0.0, 0.0, -torch.inf, -torch.inf]]), 0)
    assert float(found.prob) == pytest.approx(0.5)
    assert float(found.entropy) == pytest.approx(0.6931472, rel=1e-5)
