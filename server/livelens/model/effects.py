"""Checked by doing: what really happens to a metric when components are ablated, one at a time.

The tokens before the metric's position are computed once; each ablation is one row of a batch that
continues from there (activation patching's direct counterpart, with zero or the mean in place of
another run's values: Wang et al. 2022, "Interpretability in the Wild"). Row 0 of the first batch is
the run as it was, and everything is measured against it.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache

from livelens.analysis.agreement import F32, sign_agreement, spearman
from livelens.analysis.attributed_effects import attributed_effects
from livelens.analysis.attribution import Attribution
from livelens.analysis.direct_logit import strongest
from livelens.analysis.progress import Work
from livelens.model import attention
from livelens.model.ablation import MeanOutputs, ablation_edits, place_of, sites_of
from livelens.model.caches import new_cache, prefix_cache
from livelens.model.edits import Segment
from livelens.model.engine import AnalysisRefusedError, EngineError
from livelens.model.neuron_ranking import NEURON_SITES, direct_of_neurons
from livelens.model.operations import Span
from livelens.model.replay import (
    ModelParts,
    Piece,
    masks_at,
    metric_direction,
    own_edits,
    refuse_unknown,
    replay,
    replay_plan,
    rows_over_own_cache,
    rows_over_shared_cache,
    run_piece,
    stretches,
    tokens_per_piece,
)
from livelens.protocol.messages import AnalysisProgress, Component, EffectsReady, Metric, RequestEffects
from livelens.protocol.tensors import encode_tensor

_Rows = list[Component | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Of each batch row: the metric before any soft cap, and the target's probability."""

    values: F32
    probs: F32


def measure_effects(
    question: RequestEffects,
    metric: Metric,
    token_ids: Sequence[int],
    segments: Sequence[Segment],
    parts: ModelParts,
    *,
    attribution: Attribution | None = None,
) -> Iterator[AnalysisProgress | EffectsReady]:
    """Ablate each component of the question's scope alone and measure the metric; the answer comes last.

    token_ids: the run's, at least up to the metric's position. attribution: of the same metric of the
    same run, where it is to be compared. Raises AnalysisRefusedError for a question that cannot
    be asked of this run, EngineError when the run cannot be computed again.
    """
    started = time.perf_counter()
    _check(question, metric, token_ids, parts, attribution)
    experiment = _Experiment(question, metric, list(token_ids[: metric.pos + 1]), segments, parts)
    measured = yield from experiment.run()
    effects = measured.values[0] - measured.values[1:]
    components = experiment.components
    attributed = None
    if attribution is not None:
        attributed = attributed_effects(attribution, components, everywhere=question.everywhere, means=experiment.means)
    yield EffectsReady(
        request_id=question.request_id,
        run_id=question.run_id,
        metric=metric,
        scope=question.scope,
        ablation=question.ablation,
        everywhere=question.everywhere,
        components=components,
        effects=encode_tensor(effects),
        probs=encode_tensor(measured.probs[1:]),
        clean_prob=float(measured.probs[0]),
        attributed=None if attributed is None else encode_tensor(attributed),
        spearman=None if attributed is None else spearman(attributed, effects),
        sign_agreement=None if attributed is None else sign_agreement(attributed, effects),
        secs=time.perf_counter() - started,
    )


def _check(
    question: RequestEffects,
    metric: Metric,
    token_ids: Sequence[int],
    parts: ModelParts,
    attribution: Attribution | None,
) -> None:
    """Raise AnalysisRefusedError for what cannot be measured."""
    refusal: tuple[str, str] | None = None
    if metric.pos >= len(token_ids):
        refusal = "not_computed", f"token {metric.pos} is outside the run: it has tokens 0 to {len(token_ids) - 1}"
    elif question.ablation == "mean" and metric.pos == 0:
        refusal = (
            "nothing_to_average",
            "the first token has none before it to take a mean of: ablate to zero, or ask a later token",
        )
    elif question.scope == "neurons" and parts.weights.neuron_output is None:
        refusal = "no_neurons", "this model's neurons have no single output matrix: they cannot be ranked"
    elif question.scope == "listed" and not question.components:
        refusal = "no_components", "no components to ablate: name some, or choose another scope"
    if refusal is not None:
        raise AnalysisRefusedError(*refusal)
    if question.scope == "listed":
        for component in question.components:
            refuse_unknown(component, parts)
    explained = None if attribution is None else (attribution.pos, attribution.target_id, attribution.distractor_id)
    if explained not in (None, (metric.pos, metric.target_id, metric.distractor_id)):
        raise ValueError(f"the attribution is of {explained}, not of the metric that is measured")


class _Experiment:
    """One question's forward calls. After `run`: components, and means where those are what is put in."""

    def __init__(
        self,
        question: RequestEffects,
        metric: Metric,
        token_ids: list[int],
        segments: Sequence[Segment],
        parts: ModelParts,
    ) -> None:
        self.question = question
        self.metric = metric
        self.token_ids = token_ids
        self.segments = segments
        self.parts = parts
        self.components = self._named_components()
        self.means = MeanOutputs() if question.ablation == "mean" else None
        self.direction, self.constant = metric_direction(parts, metric)
        self._work = Work(question, total=0)

    def run(self) -> Generator[AnalysisProgress, None, Measured]:
        """Everything, row 0 of the result the run as it was."""
        question, prefix = self.question, new_cache()
        is_short = question.everywhere and question.ablation == "zero" and question.scope != "neurons"
        plan = [] if is_short else replay_plan(self.parts, self.token_ids[:-1], self.segments)
        n_rows = question.n_neurons if question.scope == "neurons" else len(self.components)
        self._work.total = len(plan) + self._n_pieces(1 + n_rows)
        if plan:
            yield from self._compute_prefix(prefix)
        if question.scope == "neurons":
            self.components = self._strongest_neurons(prefix)
            yield self._work.step()
        rows: _Rows = [None, *self.components]
        measured: list[Measured] = []
        step = self._rows_together()
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            if question.everywhere:
                measured.append((yield from self._measure_everywhere(chunk)))
            else:
                measured.append(self._measure_here(chunk, prefix))
            if start == 0:
                self._check_clean(float(measured[0].values[0]))
            if not question.everywhere:
                yield self._work.step()
        return Measured(
            values=np.concatenate([each.values for each in measured]),
            probs=np.concatenate([each.probs for each in measured]),
        )

    def _named_components(self) -> list[Component]:
        """The components of the scope; none yet for `neurons`, which are ranked first."""
        shape, layers = self.parts.anatomy.shape, range(self.parts.anatomy.shape.n_layers)
        match self.question.scope:
            case "listed":
                return list(self.question.components)
            case "heads":
                return [Component(kind="head", layer=at, index=head) for at in layers for head in range(shape.n_heads)]
            case "attn":
                return [Component(kind="attn", layer=at) for at in layers]
            case "mlps":
                return [Component(kind="mlp", layer=at) for at in layers]
            case "neurons":
                return []

    def _rows_together(self) -> int:
        if self.question.everywhere:
            return rows_over_own_cache(self.parts, len(self.token_ids))
        return rows_over_shared_cache(self.parts, len(self.token_ids))

    def _n_pieces(self, n_rows: int) -> int:
        chunks = -(-n_rows // self._rows_together()) + (self.question.scope == "neurons")
        if not self.question.everywhere:
            return chunks
        return chunks * len(self._stretches(self._rows_together()))

    def _compute_prefix(self, prefix: Cache) -> Iterator[AnalysisProgress]:
        """The tokens before the metric's, into `prefix`; what mean ablation puts in, on the way."""
        places = {place_of(component) for component in self.components}
        sites = sites_of(self.components)
        if self.question.scope == "neurons":
            places = {("neurons", layer) for layer in range(self.parts.anatomy.shape.n_layers)}
            sites = frozenset(("neurons",))
        sites = frozenset() if self.means is None else sites
        for piece in replay(self.parts, self.token_ids[:-1], self.segments, cache=prefix, sites=sites):
            if self.means is not None:
                self.means.add(piece, places)
            yield self._work.step()

    def _measure_here(self, rows: _Rows, prefix: Cache) -> Measured:
        """The last token in `len(rows)` rows over the same prefix."""
        pos = self.metric.pos
        return self._read(self._piece(rows, pos, pos + 1, _continued(prefix, self.parts)))

    def _stretches(self, n_rows: int) -> list[tuple[int, int]]:
        longest = max(1, tokens_per_piece(self.parts) // n_rows)
        return [(s.start, s.stop) for s in stretches(self.segments, len(self.token_ids), longest=longest)]

    def _measure_everywhere(self, rows: _Rows) -> Generator[AnalysisProgress, None, Measured]:
        """All tokens in `len(rows)` rows, each with a cache of its own."""
        cache = new_cache()
        piece: Piece | None = None
        for start, stop in self._stretches(self._rows_together()):
            piece = self._piece(rows, start, stop, cache)
            yield self._work.step()
        if piece is None:
            raise RuntimeError("a run has at least one token")
        return self._read(piece)

    def _piece(self, rows: _Rows, start: int, stop: int, cache: Cache) -> Piece:
        own = own_edits(self.parts, masks_at(self.segments, start))
        edits = ablation_edits(rows, own, self.parts.anatomy, means=self.means, like=self.direction)
        return run_piece(
            self.parts, self.token_ids[start:stop], start=start, cache=cache, edits=edits, n_rows=len(rows)
        )

    @torch.inference_mode()
    def _read(self, piece: Piece) -> Measured:
        normed = piece.normed[:, -1]
        values = normed.float() @ self.direction + self.constant
        logits = self.parts.readout.logits(normed)
        probs = (logits[:, self.metric.target_id] - logits.logsumexp(-1)).exp()
        return Measured(values=_numpy(values), probs=_numpy(probs))

    def _check_clean(self, clean: float) -> None:
        """What was computed again is the run, or nothing measured against it means anything."""
        tolerance = 1e-2 if self.parts.model.dtype == torch.float32 else 1e-1
        if not abs(clean - self.metric.value) <= tolerance * max(1.0, abs(self.metric.value)):
            raise EngineError(
                f"the run could not be computed again: its metric came out as {clean:.4g}, not {self.metric.value:.4g}"
            )

    @torch.inference_mode()
    def _strongest_neurons(self, prefix: Cache) -> list[Component]:
        """The neurons with the largest direct contribution to the metric at its position, largest first."""
        pos, parts = self.metric.pos, self.parts
        own = own_edits(parts, masks_at(self.segments, pos)).bound(Span(pos, tuple(self.token_ids[pos:])))
        cache = _continued(prefix, parts)
        piece = run_piece(parts, self.token_ids[pos:], start=pos, cache=cache, edits=own, sites=NEURON_SITES)
        direct = direct_of_neurons(parts, piece, self.direction)
        for layer, factor in own.mlp_factors.items():
            direct[layer] *= factor.flatten()[0]
        indices, _ = strongest(direct, self.question.n_neurons)
        d_mlp = direct.shape[-1]
        return [Component(kind="neuron", layer=i // d_mlp, index=i % d_mlp) for i in indices.tolist()]


def _continued(prefix: Cache, parts: ModelParts) -> Cache:
    """`prefix`, to be continued by rows of one token; read where it lies by a model that was seen to do so at loading.

    That is what `causal_effects` is declared by (`ablated_rows.rows_fault`); others get a copy for every row.
    """
    is_shared = attention.is_used_by(parts.model) and "causal_effects" in parts.info.capabilities.channels
    return prefix_cache(prefix, parts.anatomy.shape.n_layers, keeps_rows=False, is_copied=not is_shared)


def _numpy(tensor: Tensor) -> F32:
    return np.ascontiguousarray(tensor.float().cpu().numpy())
