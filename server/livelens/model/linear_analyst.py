"""Answers what attribution tells of a run: its edges, paths, direct effects and token relevance.

The last linearised run is kept, with its gradients, so that clicking on from node to node costs no new
forward pass. For the model thread only.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from livelens.analysis.attribution import Attribution
from livelens.analysis.edges import Edges
from livelens.analysis.nodes import AttributionError, Node, Part, parse_node
from livelens.analysis.pacing import Pacing
from livelens.analysis.paths import MAX_NODES, PathGraph, strongest_paths
from livelens.analysis.progress import Work, as_progress
from livelens.analysis.relevance import N_STEPS, IntegratedGradients, gradient_x_input, integrated_gradients
from livelens.model.answers import incoming_part, outgoing_part, overview_answer, paths_answer
from livelens.model.engine import F32, AnalysisContext, AnalysisRefusedError
from livelens.model.frozen import FrozenModel, FrozenRun, why_not_linear
from livelens.model.in_turns import in_turns
from livelens.model.kept_prefix import mask_segments
from livelens.model.metrics import MetricTokens, metric_tokens
from livelens.model.replay import ModelParts
from livelens.protocol.messages import (
    AnalysisProgress,
    Answer,
    AttributionReady,
    Metric,
    MetricQuestion,
    RelevanceReady,
    RequestAttribution,
    RequestOverview,
    RequestPaths,
    RequestRelevance,
)
from livelens.protocol.tensors import encode_tensor

# The linearised forward pass, its gradients, and what is read off them.
N_PIECES = 3
# A guess, for the progress that is told: most graphs end below it.
_STEPS_PER_NODE = 3
_LEAST_THRESHOLD = 1e-3
_NEURONS_LISTED = 32

_RunKey = tuple[str, tuple[tuple[int, int], ...], tuple[int, ...]]
LinearQuestion = RequestAttribution | RequestPaths | RequestOverview | RequestRelevance


@dataclass(slots=True)
class _Linearised:
    """One linearised run up to the metric's position, and the gradients of the metric last asked about."""

    key: _RunKey
    run: FrozenRun
    logits: Tensor
    edges: Edges | None = None


@dataclass(frozen=True, slots=True)
class Explained:
    """A metric and what explains it."""

    metric: Metric
    edges: Edges

    @property
    def attribution(self) -> Attribution:
        return self.edges.attribution


class LinearAnalyst:
    """One model's answers in its linearised runs. `drop` when its memory is wanted for something else."""

    def __init__(self, parts: ModelParts) -> None:
        self._parts = parts
        self._frozen: FrozenModel | None = None
        self._last: _Linearised | None = None

    def drop(self) -> None:
        """Let go of the run that is kept."""
        self._last = None

    def answer(self, question: LinearQuestion, context: AnalysisContext) -> Iterator[Answer]:
        """Progress, then the answer; raises AttributionError and AnalysisRefusedError."""
        match question:
            case RequestAttribution():
                yield from self._attribution(question, context)
            case RequestPaths():
                yield from self._paths(question, context)
            case RequestOverview():
                yield from self._overview(question, context)
            case RequestRelevance():
                yield from self._relevance(question, context)

    def can_explain(self, pos: int, context: AnalysisContext) -> bool:
        """The run up to `pos` can be linearised: its model, its interventions and its length allow it."""
        model = self._frozen_or_none()
        if model is None or pos >= model.max_positions():
            return False
        return why_not_linear(mask_segments(context), context.token_ids[: pos + 1]) is None

    def _attribution(self, question: RequestAttribution, context: AnalysisContext) -> Iterator[Answer]:
        node = parse_node(question.node)
        read_parts: list[Part] = ["value", "query", "key"] if node.kind == "head" else ["value"]
        is_incoming = question.direction == "incoming"
        work = Work(question, total=N_PIECES + (len(read_parts) - 1 if is_incoming else 0))
        explained = yield from self.explained(question.metric, context, work)
        edges, n_neurons = explained.edges, min(question.n_edges, _NEURONS_LISTED)
        if is_incoming:
            found = []
            for part in read_parts:
                key_pos = None if part == "value" else question.key_pos
                incoming = edges.incoming(node, part=part, key_pos=key_pos, n_neurons=n_neurons)
                found.append(incoming_part(incoming, question.n_edges))
                yield work.step()
        else:
            fed = in_turns(lambda between: edges.outgoing(node, n_neurons=n_neurons, pacing=Pacing(between)))
            outgoing = yield from as_progress(fed, work)
            found = [outgoing_part(outgoing, question.n_edges, metric_pos=explained.metric.pos)]
        yield AttributionReady(
            request_id=question.request_id,
            run_id=question.run_id,
            metric=explained.metric,
            node=question.node,
            direction=question.direction,
            relevance=found[0].value,
            parts=found,
        )

    def _paths(self, question: RequestPaths, context: AnalysisContext) -> Iterator[Answer]:
        work = Work(question, total=N_PIECES)
        explained = yield from self.explained(question.metric, context, work)
        threshold, max_nodes = max(question.threshold, _LEAST_THRESHOLD), min(question.n_nodes, MAX_NODES)
        steps = in_turns(
            lambda between: strongest_paths(
                explained.edges, threshold=threshold, max_nodes=max_nodes, n_paths=0, between=between
            )
        )
        graph: PathGraph = yield from as_progress(steps, work, n_expected=_STEPS_PER_NODE * max_nodes)

        def label(node: Node) -> str:
            if node.kind == "logit":
                return explained.metric.target_text
            if node.kind == "embed":
                return self._parts.tokens.token_text(context.token_ids[node.pos])
            return node.node_id.partition("@")[0]

        yield paths_answer(question, explained.metric, graph, label)

    def _overview(self, question: RequestOverview, context: AnalysisContext) -> Iterator[Answer]:
        explained = yield from self.explained(question.metric, context, Work(question, total=N_PIECES))
        logit = Node(kind="logit", pos=explained.metric.pos)
        direct = explained.edges.incoming(logit, n_neurons=question.n_neurons)
        yield overview_answer(question, explained.metric, explained.attribution, direct)

    def _relevance(self, question: RequestRelevance, context: AnalysisContext) -> Iterator[Answer]:
        work = Work(question, total=N_PIECES)
        explained = yield from self.explained(question.metric, context, work)
        metric = explained.metric
        tokens, bias, placed = yield from self._token_relevance(question, explained, work)
        total = float(tokens.sum(dtype="float64")) + bias
        yield RelevanceReady(
            request_id=question.request_id,
            run_id=question.run_id,
            metric=metric,
            method=question.method,
            tokens=encode_tensor(tokens),
            bias=bias,
            total=total,
            error=total - metric.value,
            placed=placed,
        )

    def _token_relevance(
        self, question: RequestRelevance, explained: Explained, work: Work
    ) -> Generator[AnalysisProgress, None, tuple[F32, float, float]]:
        """[n_pos]; what no token is credited with, biases or integrated gradients' baseline; and what was placed."""
        model, run, metric = self._frozen_model(), explained.attribution.run, explained.metric
        target_id, distractor_id = metric.target_id, metric.distractor_id
        if question.method == "gradient_x_input":
            gradient = in_turns(
                lambda between: gradient_x_input(
                    model, run, target_id=target_id, distractor_id=distractor_id, pacing=Pacing(between)
                )
            )
            return (yield from as_progress(gradient, work, n_expected=N_PIECES)), 0.0, 0.0
        if question.method == "integrated_gradients":
            integrated = yield from self._integrated(run, metric, work)
            return integrated.tokens, integrated.baseline_metric, integrated.placed
        found = explained.attribution.relevance(n_neurons=0)
        tokens = found.embed if found.pos_embed is None else found.embed + found.pos_embed
        return tokens, float(found.bias.sum(dtype="float64")) + found.final_bias, 0.0

    def _integrated(
        self, run: FrozenRun, metric: Metric, work: Work
    ) -> Generator[AnalysisProgress, None, IntegratedGradients]:
        """Its progress is the gradients taken of those allowed, however often it stops between them."""
        before = work.done
        work.expect(N_STEPS)

        def taken(n_steps: int) -> None:
            work.done = before + n_steps

        steps = in_turns(
            lambda between: integrated_gradients(
                self._frozen_model(),
                run,
                target_id=metric.target_id,
                distractor_id=metric.distractor_id,
                pacing=Pacing(between),
                tell=taken,
            )
        )
        return (yield from as_progress(steps, work, is_counted=False))

    def explained(
        self, asked: MetricQuestion, context: AnalysisContext, work: Work
    ) -> Generator[AnalysisProgress, None, Explained]:
        """The metric's gradients in the run up to its position, made anew only where they are not at hand."""
        last = self._last
        key = _run_key(work.question.run_id, asked.pos, context)
        if last is None or last.key != key:
            self._last = last = None  # its graph goes before another is made
            made = in_turns(lambda between: self._linearised(key, asked.pos, context, Pacing(between)))
            last = self._last = yield from as_progress(made, work)
            yield work.step()
        tokens = metric_tokens(asked, context.token_ids, last.logits, self._parts.tokens)
        edges = last.edges
        if edges is None or not _explains(edges, tokens):
            last.edges = edges = None
            attributed = in_turns(partial(self._attributed, last.run, tokens))
            last.edges = edges = Edges((yield from as_progress(attributed, work)))
            yield work.step()
        return Explained(tokens.metric(self._parts.tokens, edges.attribution.metric), edges)

    def _attributed(self, run: FrozenRun, tokens: MetricTokens, between: Callable[[], None]) -> Attribution:
        return Attribution(
            self._frozen_model(),
            run,
            target_id=tokens.target_id,
            distractor_id=tokens.distractor_id,
            pacing=Pacing(between),
        )

    def _linearised(self, key: _RunKey, pos: int, context: AnalysisContext, pacing: Pacing) -> _Linearised:
        model = self._frozen_model()
        limit = model.max_positions()
        if pos >= limit:
            raise AnalysisRefusedError(
                "run_too_long",
                f"attribution takes at most {limit} positions of this model, and position {pos} has {pos + 1}: "
                "ask about an earlier token, or measure instead",
            )
        run = model.run(context.token_ids[: pos + 1], mask_segments(context), pacing=pacing)
        with torch.no_grad():
            logits = self._parts.readout.logits(run.normed[:, -1].detach())[0].float()
        return _Linearised(key, run, logits)

    def _frozen_model(self) -> FrozenModel:
        if self._frozen is None:
            self._frozen = FrozenModel(
                self._parts.model, self._parts.anatomy, logit_scale=self._parts.readout.logit_scale
            )
        return self._frozen

    def _frozen_or_none(self) -> FrozenModel | None:
        try:
            return self._frozen_model()
        except AttributionError:
            return None


def _run_key(run_id: str, pos: int, context: AnalysisContext) -> _RunKey:
    sets = tuple((segment.from_pos, segment.revision) for segment in context.segments if segment.from_pos <= pos)
    return run_id, sets, context.token_ids[: pos + 1]


def _explains(edges: Edges, tokens: MetricTokens) -> bool:
    held = edges.attribution
    return (held.target_id, held.distractor_id) == (tokens.target_id, tokens.distractor_id)
