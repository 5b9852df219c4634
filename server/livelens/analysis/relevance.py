"""Token importance with nothing frozen: gradient x input, and integrated gradients with their completeness.

Beside the linearised run's relevance of the embeddings (`Attribution.relevance().embed`), which is
conserved, these two are the usual ones: the gradient of the real model times the token's embedding
(Shrikumar et al. 2016), and the same gradient averaged on a straight way from a baseline (Sundararajan
et al. 2017), whose sum is `metric - metric(baseline)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor

from livelens.analysis.attribution import gradients, to_numpy
from livelens.analysis.nodes import AttributionError
from livelens.analysis.pacing import Pacing
from livelens.model.engine import F32
from livelens.model.frozen import FrozenModel, FrozenRun

Baseline = Literal["zero", "mean"]
MIN_STEPS, N_STEPS, MAX_STEPS = 9, 96, 512
_HALVED_AT_ONCE = 8
_LEAST_SLOPE = 1e-20  # where there is none, nothing can be placed by it
# Positions of one batch of interpolated runs: what bounds its memory.
_BATCH_POSITIONS = 1024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntegratedGradients:
    """tokens [n_pos] sums to `metric - baseline_metric - error`, in logits.

    placed: logits of that, without regard to sign, which the quadrature missed on one piece of the way or
    another and which were placed by the slopes there: how far the tokens' shares are an estimate.
    """

    tokens: F32
    metric: float
    baseline: Baseline
    baseline_metric: float
    error: float
    placed: float
    n_steps: int


def gradient_x_input(
    model: FrozenModel, run: FrozenRun, *, target_id: int, distractor_id: int | None, pacing: Pacing | None = None
) -> F32:
    """[n_pos]: each token's embedding along the real model's gradient; need not sum to the metric."""
    path = _Path(model, run, target_id=target_id, distractor_id=distractor_id, baseline="zero", pacing=pacing)
    return to_numpy(path.points([1.0])[0].slope)


def integrated_gradients(
    model: FrozenModel,
    run: FrozenRun,
    *,
    target_id: int,
    distractor_id: int | None,
    max_steps: int = N_STEPS,
    tolerance: float = 0.01,
    baseline: Baseline = "mean",
    pacing: Pacing | None = None,
    tell: Callable[[int], None] = lambda n_steps: None,
) -> IntegratedGradients:
    """Integrated gradients of the token embeddings, by adaptive Simpson quadrature.

    baseline: no embedding at all, or the mean one of the vocabulary, at every token; positional embeddings
    stay. On the way the metric of a real model jumps, so evenly spaced points miss most of it (1,024 of them
    miss half of the shipped model's change). What a piece of the way must sum to is known, the metric's
    difference between its ends, so the pieces that miss it most are halved until all misses together are
    below `tolerance` of the metric's whole change, or `max_steps` gradients were taken. What is missed then is
    placed by the slopes (`_Piece.integral`): 96 gradients so placed come as near as 160 that are not.
    pacing: may stop between layers. tell: called with the gradients taken so far. Raises AttributionError.
    """
    if not MIN_STEPS <= max_steps <= MAX_STEPS:
        raise AttributionError(f"integrated gradients take {MIN_STEPS} to {MAX_STEPS} steps, got {max_steps}")
    path = _Path(model, run, target_id=target_id, distractor_id=distractor_id, baseline=baseline, pacing=pacing)
    points = path.points([index / (MIN_STEPS - 1) for index in range(MIN_STEPS)])
    pieces = [_Piece(*points[index : index + 3]) for index in range(0, MIN_STEPS - 1, 2)]
    n_steps, scale = MIN_STEPS, tolerance * abs(points[-1].metric - points[0].metric)
    while sum(abs(piece.miss()) for piece in pieces) > scale and n_steps + 2 <= max_steps:
        tell(n_steps)
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
        placed=sum(abs(piece.miss()) for piece in pieces),
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

    def simpson(self) -> Tensor:
        """[n_pos]: Simpson's rule over the slopes."""
        total: Tensor = self._weights() @ self._slopes()
        return total

    def miss(self) -> float:
        """What Simpson's rule lacks of the metric's difference between the ends."""
        return self.end.metric - self.start.metric - float(self.simpson().sum())

    def integral(self) -> Tensor:
        """[n_pos]: by the rule nearest to Simpson's whose sum is the metric's difference.

        Of all weights w' with sum_i w'_i s_i = difference (s_i the slope at point i, all tokens together), those
        with the least sum_i (w'_i - w_i)^2 / w_i. Where the metric jumps between points its slope has a direction,
        the jump's, and almost any size: this takes the direction from the slopes, the size from the metric.
        """
        weights, slopes = self._weights(), self._slopes()
        sums = slopes.sum(1)
        along = weights * sums
        squared = float(along @ sums)
        moved = weights if squared <= _LEAST_SLOPE else weights + along * (self.miss() / squared)
        total: Tensor = moved @ slopes
        return total

    def _weights(self) -> Tensor:
        """[3], sum to the piece's width."""
        width = self.end.alpha - self.start.alpha
        return self.start.slope.new_tensor([1.0, 4.0, 1.0]) * (width / 6)

    def _slopes(self) -> Tensor:
        """[3, n_pos]."""
        return torch.stack([self.start.slope, self.middle.slope, self.end.slope])

    def middles(self) -> tuple[float, float]:
        """The middles of its halves."""
        return (self.start.alpha + self.middle.alpha) / 2, (self.middle.alpha + self.end.alpha) / 2

    def halves(self, first: _Point, second: _Point) -> tuple[_Piece, _Piece]:
        """Its halves, given their middles."""
        return _Piece(self.start, first, self.middle), _Piece(self.middle, second, self.end)


class _Path:
    """The straight way from a baseline to the run's token embeddings. tokens, start: [n_pos, d_model]."""

    def __init__(
        self,
        model: FrozenModel,
        run: FrozenRun,
        *,
        target_id: int,
        distractor_id: int | None,
        baseline: Baseline,
        pacing: Pacing | None,
    ) -> None:
        self._model = model
        self._pacing = pacing or Pacing()
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
        normed, streams = self._model.plain(
            lambda stream: leaf, run.token_ids, run.edits, len(leaf), pacing=self._pacing
        )
        with torch.enable_grad():
            metrics = (normed[:, -1].float() * self._direction).sum(-1)
        gradient = self._gradient(metrics, [leaf, *streams])
        slopes = (gradient.double() * (self.tokens - self.start)).sum(-1).nan_to_num()
        values = metrics.detach().tolist()
        return [
            _Point(alpha, value + self._constant, slope)
            for alpha, value, slope in zip(alphas, values, slopes, strict=True)
        ]

    def _gradient(self, metrics: Tensor, streams: list[Tensor]) -> Tensor:
        """The metrics' gradient [rows, n_pos, d_model] at the first stream, a layer at a time from the last."""
        given = gradients([metrics], [torch.ones_like(metrics)], streams[-1:], keep_graph=False)[0]
        for before, after in reversed(list(pairwise(streams))):
            self._pacing.stop()
            given = gradients([after], [given], [before], keep_graph=False)[0]
        return given
