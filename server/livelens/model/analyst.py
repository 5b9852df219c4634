"""Answers questions about runs of one model, a bounded piece of work at a time. For the model thread only."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import torch
from torch import Tensor

from livelens.analysis.directions import make_direction
from livelens.analysis.head_profile import head_profile
from livelens.analysis.head_scores import head_scores
from livelens.analysis.neuron_profile import neuron_profile
from livelens.analysis.nodes import AttributionError
from livelens.analysis.progress import Work
from livelens.analysis.rank_one_edits import KeptKeys, make_rank_one_edit
from livelens.model.caches import new_cache
from livelens.model.effects import measure_effects
from livelens.model.engine import AnalysisContext, AnalysisRefusedError
from livelens.model.kept_prefix import mask_segments
from livelens.model.lens_analyst import LensAnalyst
from livelens.model.linear_analyst import N_PIECES, LinearAnalyst
from livelens.model.metrics import metric_tokens
from livelens.model.patching import measure_patching
from livelens.model.replay import ModelParts, metric_direction, replay
from livelens.protocol.messages import (
    AnalysisProgress,
    Answer,
    Metric,
    MetricQuestion,
    Question,
    RequestAttentionEntropy,
    RequestAttribution,
    RequestComparison,
    RequestDirection,
    RequestEffects,
    RequestHeadLens,
    RequestHeadProfile,
    RequestHeadScores,
    RequestLens,
    RequestNeuronProfile,
    RequestOverview,
    RequestPatching,
    RequestPaths,
    RequestRankOneEdit,
    RequestRelevance,
    RequestStreamPca,
)


class TorchAnalyst:
    """One model's analyst. `drop` when its memory is wanted for something else."""

    def __init__(self, parts: ModelParts) -> None:
        self._parts = parts
        self._linear = LinearAnalyst(parts)
        self._lenses = LensAnalyst(parts)
        self._edit_keys = KeptKeys()

    def drop(self) -> None:
        """Let go of the runs that are kept."""
        self._linear.drop()
        self._lenses.drop()

    def answer(self, question: Question, context: AnalysisContext) -> Iterator[Answer]:
        """Progress, then the answer; see `Engine.analyse`."""
        try:
            yield from self._answer(question, context)
        except AttributionError as error:
            raise AnalysisRefusedError("bad_question", str(error)) from error

    def _answer(self, question: Question, context: AnalysisContext) -> Iterator[Answer]:
        match question:
            case RequestAttribution() | RequestPaths() | RequestOverview() | RequestRelevance():
                yield from self._linear.answer(question, context)
            case RequestEffects():
                yield from self._effects(question, context)
            case RequestPatching():
                yield from self._patching(question, context)
            case RequestLens() | RequestHeadLens() | RequestStreamPca() | RequestAttentionEntropy():
                yield from self._lenses.answer(question, context)
            case RequestDirection():
                computed = list(context.token_ids[: context.n_positions])
                yield from make_direction(question, computed, mask_segments(context), self._parts)
            case RequestRankOneEdit():
                yield from make_rank_one_edit(question, context, self._parts, self._edit_keys)
            case RequestHeadProfile() | RequestHeadScores() | RequestNeuronProfile():
                yield from self._profile(question, context)
            case RequestComparison():
                raise RuntimeError("two runs are compared by the engine, not by its analyst")

    def _profile(
        self, question: RequestHeadProfile | RequestHeadScores | RequestNeuronProfile, context: AnalysisContext
    ) -> Iterator[Answer]:
        """What one part does, in the whole run as far as it was computed."""
        token_ids, segments = list(context.token_ids[: context.n_positions]), mask_segments(context)
        match question:
            case RequestHeadProfile():
                yield from head_profile(question, token_ids, segments, self._parts)
            case RequestHeadScores():
                yield from head_scores(question, self._parts)
            case RequestNeuronProfile():
                yield from neuron_profile(question, token_ids, segments, self._parts)

    def _effects(self, question: RequestEffects, context: AnalysisContext) -> Iterator[Answer]:
        work = Work(question, total=N_PIECES)
        if self._linear.can_explain(question.metric.pos, context):
            explained = yield from self._linear.explained(question.metric, context, work)
            metric, attribution = explained.metric, explained.attribution
        else:
            metric, attribution = (yield from self._replayed_metric(question.metric, context, work)), None
        yield from measure_effects(
            question, metric, list(context.token_ids), mask_segments(context), self._parts, attribution=attribution
        )

    def _patching(self, question: RequestPatching, context: AnalysisContext) -> Iterator[Answer]:
        metric = yield from self._replayed_metric(question.metric, context, Work(question))
        yield from measure_patching(
            question, metric, context.token_ids, mask_segments(context), self._parts, n_prompt=context.n_prompt
        )

    def _replayed_metric(
        self, asked: MetricQuestion, context: AnalysisContext, work: Work
    ) -> Generator[AnalysisProgress, None, Metric]:
        """The metric of a run that is too long to be linearised, or cannot be."""
        parts = self._parts
        normed: Tensor | None = None
        for piece in replay(parts, context.token_ids[: asked.pos + 1], mask_segments(context), cache=new_cache()):
            normed = piece.normed[0, -1]
            work.expect(1)
            yield work.step()
        if normed is None:
            raise RuntimeError("a run has at least one token")
        with torch.inference_mode():
            found = metric_tokens(asked, context.token_ids, parts.readout.logits(normed[None])[0], parts.tokens)
            direction, constant = metric_direction(parts, found.metric(parts.tokens, 0.0))
            value = float(normed.float() @ direction) + constant
        return found.metric(parts.tokens, value)
