"""A run computed again, piece by piece under its own interventions, for questions about it.

A piece is one forward call of bounded work, so that whoever waits for the model thread (a run that is
generating, a question that is given up) waits for a piece at most.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import Cache

from livelens.analysis.direct_logit import unembed_direction
from livelens.analysis.pacing import Pacing
from livelens.model.anatomy import Anatomy
from livelens.model.capture import CaptureSite, ForwardHooks
from livelens.model.edits import Segment, SiteEdits, edits_from
from livelens.model.engine import AnalysisRefusedError, EngineError
from livelens.model.freeze_hooks import StopHooks
from livelens.model.interventions import InterventionMasks
from livelens.model.operations import Place, Span
from livelens.model.readout import Readout, WriteWeights
from livelens.model.tokens import Tokens
from livelens.protocol.components import check_component
from livelens.protocol.messages import Component, Metric, ModelInfo

# Parameters times tokens of one piece: about 0.2 s on two cores, and on a GPU less.
_CPU_WORK, _GPU_WORK = 9e9, 2e12
# Positions of prefix that cost a row as much as its own token does.
_LONG_PREFIX = 400
_CACHE_BYTES = 2 * 2**30
_LAYER_BYTES = 2**29


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelParts:
    """What a question about a model or a run needs of an engine. For the model thread only."""

    model: PreTrainedModel
    readout: Readout
    weights: WriteWeights
    tokens: Tokens
    info: ModelInfo

    @property
    def anatomy(self) -> Anatomy:
        """Where the model's components lie."""
        return self.readout.anatomy


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One forward call: positions `start` to `stop` - 1, in every batch row the same tokens.

    tensors: as `ForwardHooks.tensors`; normed [batch, stop - start, d_model]: what left the final norm;
    written: what interventions wrote (see `ForwardHooks.written`).
    """

    start: int
    stop: int
    tensors: dict[CaptureSite, list[Tensor | None]]
    normed: Tensor
    written: dict[Place, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """Positions that one forward call may take: `start` to `stop` - 1, all under `masks`."""

    start: int
    stop: int
    masks: InterventionMasks | None


def tokens_per_piece(parts: ModelParts) -> int:
    """How many tokens (rows times positions) one piece takes."""
    n_parameters = max(int(parts.model.num_parameters()), 1)
    on_cpu = parts.model.device.type == "cpu"
    return max(4, min(64 if on_cpu else 512, int((_CPU_WORK if on_cpu else _GPU_WORK) / n_parameters)))


def rows_over_shared_cache(parts: ModelParts, n_positions: int) -> int:
    """How many rows continue a shared prefix of `n_positions` in one piece; a long prefix is work of its own."""
    shape = parts.anatomy.shape
    n_rows = int(tokens_per_piece(parts) / (1 + n_positions / _LONG_PREFIX))
    a_row = 2 * shape.n_key_value_heads * shape.d_head * (n_positions + 1) * parts.model.dtype.itemsize
    return int(max(2, min(n_rows, _LAYER_BYTES // a_row)))


def rows_over_own_cache(parts: ModelParts, n_positions: int) -> int:
    """How many rows, each with its own cache of `n_positions`, are run side by side."""
    shape = parts.anatomy.shape
    a_row = 2 * shape.n_layers * shape.n_key_value_heads * shape.d_head * n_positions * parts.model.dtype.itemsize
    return int(max(2, min(tokens_per_piece(parts) // n_positions, _CACHE_BYTES // a_row)))


def masks_at(segments: Sequence[Segment], pos: int) -> InterventionMasks | None:
    """The masks that hold at `pos`; none before the first segment."""
    return next((segment.masks for segment in reversed(segments) if segment.from_pos <= pos), None)


def stretches(segments: Sequence[Segment], n_positions: int, *, longest: int) -> list[Stretch]:
    """Positions 0 to `n_positions` - 1 cut where the masks change, and into stretches of at most `longest`."""
    cuts = sorted({0, n_positions, *(s.from_pos for s in segments if 0 < s.from_pos < n_positions)})
    return [
        Stretch(start=at, stop=min(at + longest, stop), masks=masks_at(segments, at))
        for start, stop in pairwise(cuts)
        for at in range(start, stop, longest)
    ]


def own_edits(parts: ModelParts, masks: InterventionMasks | None) -> SiteEdits:
    """The run's own edits at any positions under these masks; they hold for any number of rows."""
    model = parts.model
    return edits_from([masks], shape=parts.anatomy.shape, device=model.device, dtype=model.dtype)


@contextmanager
def _told_when_memory_runs_out(n_tokens: int) -> Iterator[None]:
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError) as error:
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise EngineError(f"out of memory while computing {n_tokens} tokens: ask about an earlier token") from error


@torch.inference_mode()
def run_piece(
    parts: ModelParts,
    token_ids: Sequence[int],
    *,
    start: int,
    cache: Cache,
    edits: SiteEdits,
    sites: frozenset[CaptureSite] = frozenset(),
    n_rows: int = 1,
    pacing: Pacing | None = None,
) -> Piece:
    """One forward call over `token_ids`, the positions from `start` on, in `n_rows` equal rows. Raises EngineError.

    edits: bound to these positions here, where they depend on them. pacing: the call may stop between layers.
    """
    edits = edits.bound(Span(start, tuple(token_ids)))
    ids = torch.tensor([list(token_ids)], device=parts.model.device).expand(n_rows, -1)
    with (
        _told_when_memory_runs_out(len(token_ids) * n_rows),
        ForwardHooks(parts.anatomy, edits=edits, sites=sites | {"resid"}) as hooks,
        nullcontext() if pacing is None else StopHooks(parts.anatomy, (hooks,), pacing),
    ):
        normed = parts.model.base_model(input_ids=ids, past_key_values=cache, use_cache=True).last_hidden_state
    return Piece(
        start=start,
        stop=start + len(token_ids),
        tensors=hooks.tensors,
        normed=normed,
        written=hooks.written,
    )


def replay(
    parts: ModelParts,
    token_ids: Sequence[int],
    segments: Sequence[Segment],
    *,
    cache: Cache,
    sites: frozenset[CaptureSite] = frozenset(),
    pacing: Pacing | None = None,
) -> Iterator[Piece]:
    """The run's forward pass over `token_ids`, filling `cache`, one piece at a time. Raises EngineError.

    pacing: a piece may stop between its layers too.
    """
    check_tokens(parts, token_ids)
    for stretch in replay_plan(parts, token_ids, segments):
        yield run_piece(
            parts,
            token_ids[stretch.start : stretch.stop],
            start=stretch.start,
            cache=cache,
            edits=own_edits(parts, stretch.masks),
            sites=sites,
            pacing=pacing,
        )


def replay_plan(parts: ModelParts, token_ids: Sequence[int], segments: Sequence[Segment]) -> list[Stretch]:
    """The stretches that `replay` will take, one piece each."""
    return stretches(segments, len(token_ids), longest=tokens_per_piece(parts))


def check_tokens(parts: ModelParts, token_ids: Sequence[int]) -> None:
    """Raise EngineError unless the model can run these tokens."""
    shape = parts.anatomy.shape
    if len(token_ids) > shape.n_ctx:
        raise EngineError(f"{len(token_ids)} tokens are more than the {shape.n_ctx} that this model takes")
    if not all(0 <= token_id < shape.d_vocab for token_id in token_ids):
        raise EngineError(f"token ids must be 0 to {shape.d_vocab - 1}")


def refuse_unknown(component: Component, parts: ModelParts) -> None:
    """Raise AnalysisRefusedError, naming the limit, unless the model has this component."""
    try:
        check_component(component, parts.info)
    except ValueError as error:
        raise AnalysisRefusedError("component_out_of_range", str(error)) from error


def metric_direction(parts: ModelParts, metric: Metric) -> tuple[Tensor, float]:
    """Direction [d_model] and constant: `normed . direction + constant` is the metric, before any soft cap."""
    weights, scale = parts.weights, parts.readout.logit_scale
    direction = unembed_direction(
        weights.unembed, weights.unembed_mean, target_id=metric.target_id, distractor_id=metric.distractor_id
    )
    bias = weights.unembed_bias
    if bias is None:
        return direction * scale, 0.0
    away_from = bias.float().mean() if metric.distractor_id is None else bias[metric.distractor_id].float()
    return direction * scale, float(bias[metric.target_id].float() - away_from) * scale
