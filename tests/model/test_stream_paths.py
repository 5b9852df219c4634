"""The stream's paths: a singular value decomposition of plain Hugging Face's hidden states."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.model.families import FAMILIES
from tests.model.lens_asking import EDITS, PROMPT, RUN, Tiny, TinyReference, array, ask, close, context_of, tokens_of
from tests.model.questions import parts_of
from tests.model.reference import Full, Reference

from livelens.analysis.principal_axes import Moments
from livelens.model.engine import AnalysisContext, AnalysisRefusedError
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    RequestStreamPca,
    StreamPcaReady,
)


def streams_of(full: Full, n: int) -> np.ndarray:
    """[n_positions, n_layers+1, d_model]"""
    return torch.stack([stream[:n] for stream in full.resid], 1).double().numpy()


def by_svd(points: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of `points` along the axes of `kept`, signs free, and the shares explained."""
    flat = kept.reshape(-1, kept.shape[-1])
    mean = flat.mean(0)
    _, sizes, rows = np.linalg.svd(flat - mean, full_matrices=False)
    return (points - mean) @ rows[:3].T, (sizes**2 / (sizes**2).sum())[:3]


def assert_paths(answer: StreamPcaReady, points: np.ndarray, kept: np.ndarray, tolerance: float = 1e-3) -> None:
    theirs, shares = by_svd(points, kept)
    ours = array(answer.coordinates).astype(np.float64)
    assert ours.shape == (*points.shape[:2], 3)
    ours *= np.sign((ours * theirs).sum((0, 1)))  # an axis has no direction
    close(ours, theirs, tolerance)
    np.testing.assert_allclose(array(answer.explained), shares, atol=1e-4)


def rms_scaled(points: np.ndarray, *, is_centred: bool, eps: float) -> np.ndarray:
    centred = points - points.mean(-1, keepdims=True) if is_centred else points
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_the_streams_paths_are_those_of_a_singular_value_decomposition(
    tiny: Tiny, tiny_reference: TinyReference, family: str
) -> None:
    engine, reference, ids = tiny(family), tiny_reference(family), tokens_of(family)
    points = streams_of(reference.run(ids, EDITS), len(ids) - 1)
    context = context_of(engine, ids, EDITS)
    norm = parts_of(engine).weights.final_norm
    plain = ask(engine, RequestStreamPca(**RUN, scaling="none"), context)
    assert isinstance(plain, StreamPcaReady)
    assert_paths(plain, points, points)
    scaled = rms_scaled(points, is_centred=norm.is_centred, eps=norm.eps)
    skipping = ask(engine, RequestStreamPca(**RUN, skip_first=2), context)
    assert isinstance(skipping, StreamPcaReady)
    assert_paths(skipping, scaled, scaled[2:])
    assert [len(words) for words in (*skipping.promoted, *skipping.suppressed)] == [5] * 6


def test_the_shipped_models_paths_are_those_of_its_hidden_states(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    ids = shipped.tokenize(PROMPT, apply_chat_template=False)
    points = streams_of(shipped_reference.run(ids), len(ids))
    with torch.no_grad():
        hidden = shipped_reference.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
    np.testing.assert_allclose(points[:, :-1], torch.cat(hidden[:-1]).transpose(0, 1).numpy(), atol=1e-3)
    context = AnalysisContext(token_ids=tuple(ids), n_prompt=len(ids), n_positions=len(ids), segments=())
    answer = ask(shipped, RequestStreamPca(**RUN, skip_first=1), context)
    assert isinstance(answer, StreamPcaReady)
    scaled = rms_scaled(points, is_centred=False, eps=shipped_reference.final_norm.variance_epsilon)
    assert_paths(answer, scaled, scaled[1:])


def test_axes_leave_nothing_over_where_points_span_fewer_dimensions() -> None:
    moments = Moments(5, device=torch.device("cpu"))
    moments.add(torch.tensor([[1.0, 0, 0, 0, 0], [-3.0, 0, 0, 0, 0]]))
    axes = moments.axes(3)
    assert axes.explained.tolist() == pytest.approx([1.0, 0.0, 0.0])
    assert axes.axes[0].tolist() == pytest.approx([1.0, 0, 0, 0, 0])
    assert axes.coordinates(torch.tensor([[-1.0, 0, 0, 0, 0]]))[0].tolist() == pytest.approx([0.0, 0, 0])
    with pytest.raises(ValueError, match="no points"):
        Moments(5, device=torch.device("cpu")).axes(3)


def test_axes_of_equal_points_explain_nothing() -> None:
    moments = Moments(4, device=torch.device("cpu"))
    moments.add(torch.zeros(3, 4))
    assert moments.axes(3).explained.tolist() == [0.0, 0.0, 0.0]


def test_paths_need_something_to_make_axes_of(tiny: Tiny) -> None:
    engine, ids = tiny("llama"), tokens_of("llama")
    with pytest.raises(AnalysisRefusedError, match="cannot leave out 11 positions: the run has 11"):
        ask(engine, RequestStreamPca(**RUN, skip_first=11), context_of(engine, ids))
