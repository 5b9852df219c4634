"""Token importance with nothing frozen: gradient x input, and integrated gradients with their completeness.

Beside the linearised run's relevance of the embeddings (`Attribution.relevance().embed`), which is
conserved, these two are the usual ones: the gradient of the real model times the token's embedding
(Shrikumar et al. 2016), and the same gradient averaged on a straight way from a baseline (Sundararajan
et al. 2017), whose sum is `metric - metric(baseline)` but for the error of the quadrature, given here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from livelens.analysis.attribution import to_numpy
from livelens.analysis.nodes import AttributionError
from livelens.model.engine import F32
from livelens.model.frozen import FrozenModel, FrozenRun

Baseline = Literal["zero", "mean"]
MIN_STEPS, MAX_STEPS = 9, 512
_HALVED_AT_ONCE = 8
# Positions of one batch of interpolated runs: what bounds its memory.
_BATCH_POSITIONS = 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegratedGradients:
    """tokens [n_pos] sums to `metric - baseline_metric - error`, in logits; error is the quadrature's."""

    tokens: F32
    metric: float
    baseline: Baseline
    baseline_metric: float
    error: float
    n_steps: int


def gradient_x_input(model: FrozenModel, run: FrozenRun, *, target_id: int, distractor_id: int | None) -> F32:
    """[n_pos]: each token's embedding along the real model's gradient; need not sum to the metric."""
    path = _Path(model, run, target_id=target_id, distractor_id=distractor_id, baseline="zero")
    return to_numpy(path.points([1.0])[0].slope)


def integrated_gradients(
    model: FrozenModel,
    run: FrozenRun,
    *,
    target_id: int,
    distractor_id: int | None,
    max_steps: int = 192,
    tolerance: float = 0.01,
    baseline: Baseline = "mean",
    between: Callable[[], None] | None = None,
) -> IntegratedGradients:
    """Integrated gradients of the token embeddings, by adaptive Simpson quadrature.

    baseline: no embedding at all, or the mean one of the vocabulary, at every token; positional embeddings
    stay. On the way the metric of a real model jumps, so evenly spaced points miss most of it (50 of them:
    an error larger than the metric on the shipped model). What a piece of the way must sum to is known,
    the metric's difference between its ends, so the pieces that miss it most are halved until all misses
    together are below `tolerance` of the metric's whole change, or `max_steps` gradients were taken.
    between: called between batches; what it raises ends the work. Raises AttributionError.
    """
    if not MIN_STEPS <= max_steps <= MAX_STEPS:
        raise AttributionError(f"integrated gradients take {MIN_STEPS} to {MAX_STEPS} steps, got {max_steps}")
    path = _Path(model, run, target_id=target_id, distractor_id=distractor_id, baseline=baseline)
    points = path.points([index / (MIN_STEPS - 1) for index in range(MIN_STEPS)])
    pieces = [_Piece(*points[index : index + 3]) for index in range(0, MIN_STEPS - 1, 2)]
    n_steps, scale = MIN_STEPS, tolerance * abs(points[-1].metric - points[0].metric)
    while sum(abs(piece.miss()) for piece in pieces) > scale and n_steps + 2 <= max_steps:
        if between is not None:
            between()
        pieces.sort(key=lambda piece: -abs(piece.miss()))
        n_halved = min(len(pieces), _HALVED_AT_ONCE, (max_steps - n_steps) // 2)
        n_halved = max(1, sum(abs(piece.miss()) > scale / len(pieces) for piece in pieces[:n_halved]))
        middles = path.points([alpha for piece in pieces[:n_halved] for alpha in piece.middles()])
        halves = [
            half
            for index, piece in enumerate(pieces[:n_halved])
            for half in piece.halves(middles[2 * index], middles[2 * index + 1])
        ]
        pieces = halves + pieces[n_halved:]
        n_steps += 2 * n_halved
    tokens = torch.stack([piece.integral() for piece in pieces]).sum(0)
    return IntegratedGradients(
        tokens=to_numpy(tokens),
        metric=points[-1].metric,
        baseline=baseline,
        baseline_metric=points[0].metric,
        error=points[-1].metric - points[0].metric - float(tokens.sum()),
        n_steps=n_steps,
    )


@dataclass(frozen=True, slots=True)
class _Point:
    """Where on the way; the metric there; and its slope along the way, token by token [n_pos] float64."""

    alpha: float
    metric: float
    slope: Tensor


@dataclass(frozen=True, slots=True)
class _Piece:
    """A piece of the way: its ends and its middle."""

    start: _Point
    middle: _Point
    end: _Point

    def integral(self) -> Tensor:
        """[n_pos]: Simpson's rule over the slopes."""
        width = self.end.alpha - self.start.alpha
        total: Tensor = (self.start.slope + 4 * self.middle.slope + self.end.slope) * (width / 6)
        return total

    def miss(self) -> float:
        """What the integral lacks of the metric's difference between the ends."""
        return self.end.metric - self.start.metric - float(self.integral().sum())

    def middles(self) -> tuple[float, float]:
        """The middles of its halves."""
        return (self.start.alpha + self.middle.alpha) / 2, (self.middle.alpha + self.end.alpha) / 2

    def halves(self, first: _Point, second: _Point) -> tuple[_Piece, _Piece]:
        """Its halves, given their middles."""
        return _Piece(self.start, first, self.middle), _Piece(self.middle, second, self.end)


class _Path:
    """The straight way from a baseline to the run's token embeddings. tokens, start: [n_pos, d_model]."""

    def __init__(
        self, model: FrozenModel, run: FrozenRun, *, target_id: int, distractor_id: int | None, baseline: Baseline
    ) -> None:
        self._model = model
        self._run = run
        self._direction, self._constant = model.direction(target_id, distractor_id)
        stream = run.stream.detach()[0]
        self._positional = torch.zeros_like(stream) if run.positional is None else run.positional
        self.tokens = stream - self._positional
        self.start = torch.zeros_like(stream) if baseline == "zero" else self._mean_embedding().expand_as(stream)

    def _mean_embedding(self) -> Tensor:
        """[d_model]: the vocabulary's mean, on the scale that the stream has it (Gemma multiplies)."""
        table = self._model.model.get_input_embeddings().weight
        if not isinstance(table, Tensor) or table.shape[-1] != self.tokens.shape[-1]:
            raise AttributionError("this model's embeddings have no mean of the stream's width: use baseline zero")
        rows = table.detach()[torch.tensor(self._run.token_ids, device=table.device)]
        scale = (rows * self.tokens).sum() / rows.square().sum()
        return (table.detach().mean(0, dtype=torch.float32) * scale).to(self.tokens.dtype)

    def points(self, alphas: Sequence[float]) -> list[_Point]:
        """The points at each `alpha` of the way, as rows of batches."""
        rows = max(1, _BATCH_POSITIONS // self._run.n_positions)
        return [
            point for start in range(0, len(alphas), rows) for point in self._batch(list(alphas[start : start + rows]))
        ]

    def _batch(self, alphas: list[float]) -> list[_Point]:
        at = torch.tensor(alphas, dtype=self.tokens.dtype, device=self.tokens.device)[:, None, None]
        leaf = (self.start + at * (self.tokens - self.start) + self._positional).requires_grad_()
        run = self._run
        normed = self._model.plain(lambda stream: leaf, run.token_ids, run.edits, len(leaf))
        with torch.enable_grad():
            metrics = (normed[:, -1].float() * self._direction).sum(-1)
            gradient = torch.autograd.grad(metrics.sum(), leaf)[0]
        slopes = (gradient.double() * (self.tokens - self.start)).sum(-1).nan_to_num()
        values = metrics.detach().tolist()
        return [
            _Point(alpha, value + self._constant, slope)
            for alpha, value, slope in zip(alphas, values, slopes, strict=True)
        ]
