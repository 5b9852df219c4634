"""The fake engine's lenses agree with what its own steps say."""

from __future__ import annotations

import numpy as np
import pytest

from livelens.model.engine import AnalysisContext, AnalysisRefusedError, ContextSegment, LogitPair, StepArrays
from livelens.model.fake import FakeEngine
from livelens.model.interventions import InterventionMasks
from livelens.protocol.messages import (
    CHANNELS,
    AttentionEntropyReady,
    HeadLensReady,
    LensReady,
    RequestAttentionEntropy,
    RequestHeadLens,
    RequestLens,
    RequestStreamPca,
    StreamPcaReady,
)
from livelens.protocol.tensors import reconstruct

RUN = {"request_id": 1, "run_id": "r"}
MASKS = InterventionMasks(attn={1: 0.5})


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine(n_layers=3, n_heads=4, d_mlp=24)


@pytest.fixture(scope="module")
def context(engine: FakeEngine) -> AnalysisContext:
    ids = tuple(engine.tokenize("The small cat sees a bird", apply_chat_template=False))
    assert len(ids) == 6
    segments = (
        ContextSegment(from_pos=0, revision=0, masks=None),
        ContextSegment(from_pos=3, revision=1, masks=MASKS),
    )
    return AnalysisContext(token_ids=ids, n_prompt=6, n_positions=6, segments=segments)


def step_at(engine: FakeEngine, context: AnalysisContext, pos: int, chosen_id: int) -> StepArrays:
    sequence = engine.open_sequence()
    sequence.forward(context.token_ids[:3], masks=None, channels=frozenset())
    captured = sequence.forward(context.token_ids[3 : pos + 1], masks=MASKS, channels=frozenset(CHANNELS))
    pair = LogitPair(target_id=chosen_id)
    return captured.arrays(pos - 3, channels=frozenset(CHANNELS), chosen_id=chosen_id, pair=pair)


def test_the_lens_is_that_of_the_step(engine: FakeEngine, context: AnalysisContext) -> None:
    (answer,) = engine.analyse(RequestLens(**RUN, pos=4), context)
    assert isinstance(answer, LensReady)
    assert answer.target_id == context.token_ids[5]
    lens = step_at(engine, context, 4, answer.target_id).lens
    np.testing.assert_allclose(reconstruct(answer.entropy), lens.entropy, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(reconstruct(answer.logprob), lens.logprob, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(reconstruct(answer.rank), lens.rank)
    assert [top[0].token_id for top in answer.top] == lens.token_id.tolist()
    np.testing.assert_allclose([top[0].prob for top in answer.top], lens.prob, rtol=1e-3)


def test_the_head_lens_adds_up_to_the_steps_direct_contributions(engine: FakeEngine, context: AnalysisContext) -> None:
    (answer,) = engine.analyse(RequestHeadLens(**RUN, pos=4, target=" bird"), context)
    assert isinstance(answer, HeadLensReady)
    direct = step_at(engine, context, 4, answer.target_id).direct
    np.testing.assert_allclose(reconstruct(answer.direct_heads), direct.heads, rtol=1e-3, atol=1e-5)
    total = float(reconstruct(answer.direct_heads).sum() + reconstruct(answer.direct_mlps).sum()) + answer.embed
    assert total == pytest.approx(answer.total, rel=1e-3, abs=1e-4)
    ids, values = reconstruct(answer.head_token_id), reconstruct(answer.head_value)
    ranks, own = reconstruct(answer.head_rank), reconstruct(answer.direct_heads)
    first = ids[..., 0] == answer.target_id
    assert ((ranks == 0) == first).all()
    np.testing.assert_allclose(values[..., 0][first], own[first], rtol=1e-3)
    assert (values[..., 0] >= own - 1e-4).all()
    assert {word.token_id for word in answer.words} >= set(ids.ravel().tolist())


def test_the_paths_are_orthogonal_and_keep_the_variance(engine: FakeEngine, context: AnalysisContext) -> None:
    (answer,) = engine.analyse(RequestStreamPca(**RUN), context)
    assert isinstance(answer, StreamPcaReady)
    coordinates, explained = reconstruct(answer.coordinates), reconstruct(answer.explained)
    assert coordinates.shape == (6, 4, 3)
    products = coordinates.reshape(-1, 3).T @ coordinates.reshape(-1, 3)
    np.testing.assert_allclose(products - np.diag(np.diag(products)), 0, atol=1e-3 * products.max())
    assert 0 < explained.sum() <= 1
    np.testing.assert_allclose(np.diag(products) / np.diag(products).sum(), explained / explained.sum(), rtol=1e-3)
    with pytest.raises(AnalysisRefusedError, match="cannot leave out 6"):
        next(engine.analyse(RequestStreamPca(**RUN, skip_first=6), context))


def test_entropy_is_that_of_the_steps_rows(engine: FakeEngine, context: AnalysisContext) -> None:
    (answer,) = engine.analyse(RequestAttentionEntropy(**RUN, pos=4), context)
    assert isinstance(answer, AttentionEntropyReady)
    rows = step_at(engine, context, 4, 0).attention
    np.testing.assert_allclose(reconstruct(answer.entropy), -(rows * np.log(rows)).sum(-1), rtol=1e-3)
    np.testing.assert_array_equal(reconstruct(answer.top_key), rows.argmax(-1))


def test_a_run_of_one_token_has_paths_all_the_same(engine: FakeEngine) -> None:
    one = FakeEngine(n_layers=1, n_heads=2, d_mlp=4)
    context = AnalysisContext(token_ids=(5,), n_prompt=1, n_positions=1, segments=())
    (answer,) = one.analyse(RequestStreamPca(**RUN), context)
    assert isinstance(answer, StreamPcaReady)
    assert reconstruct(answer.coordinates).shape == (1, 2, 3)
    assert reconstruct(answer.explained).tolist() == pytest.approx([1, 0, 0])


def test_a_token_that_is_none_is_refused(engine: FakeEngine, context: AnalysisContext) -> None:
    with pytest.raises(AnalysisRefusedError, match="not in the vocabulary"):
        next(engine.analyse(RequestLens(**RUN, pos=1, target=10**6), context))
