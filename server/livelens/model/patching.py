"""Activation patching: what a run knew, put into a run of another prompt, one place at a time.

Source: causal tracing (Meng et al. 2022, "Locating and Editing Factual Associations in GPT"), activation
patching (Wang et al. 2022, "Interpretability in the Wild"); direction and metric as Heimersheim and Nanda
2024, "How to use and interpret activation patching", recommend: clean values into the corrupted run
("denoising"), measured as a logit difference, `(patched - corrupted) / (clean - corrupted)`. The clean
run is the one that is looked at; both are computed under its interventions.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache

from livelens.analysis.agreement import F32
from livelens.analysis.progress import Work
from livelens.model.caches import new_cache, prefix_cache
from livelens.model.capture import CaptureSite
from livelens.model.engine import AnalysisRefusedError, EngineError
from livelens.model.frozen import MaskSegment
from livelens.model.patched_rows import Patch, SourceRun, run_patched
from livelens.model.replay import (
    ModelParts,
    Piece,
    check_tokens,
    metric_direction,
    replay,
    replay_plan,
    tokens_per_piece,
)
from livelens.protocol.messages import AnalysisProgress, Metric, PatchingReady, RequestPatching
from livelens.protocol.tensors import encode_tensor

LEAST_DIFFERENCE = 0.02
_SITES: frozenset[CaptureSite] = frozenset(("z", "attn_out", "mlp_out"))
_CHUNK_BYTES = 2**30
_MOST_ROWS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class TwoRuns:
    """Both runs' tokens, positions 0 to the metric's; `first`: where they first differ."""

    clean_ids: list[int]
    corrupted_ids: list[int]
    first: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Every patch of a question, and where its result goes.

    resid_pre, attn_out, mlp_out [n_layers, n_pos], heads_last, heads_all [n_layers, n_heads]: indices
    into `patches`, -1 where both runs are the same and nothing needs to be run.
    """

    patches: list[Patch]
    maps: dict[str, np.ndarray[tuple[int, int], np.dtype[np.int64]]]


def measure_patching(
    question: RequestPatching,
    metric: Metric,
    token_ids: Sequence[int],
    segments: Sequence[MaskSegment],
    parts: ModelParts,
    *,
    n_prompt: int,
) -> Iterator[AnalysisProgress | PatchingReady]:
    """Patch each layer at each position, and each head, from the run into that of the other prompt; the answer last.

    token_ids: the run's, of which the first `n_prompt` are its prompt; the question's prompt takes their
    place. Raises AnalysisRefusedError for two prompts that cannot be compared, EngineError when the run
    cannot be computed again.
    """
    started = time.perf_counter()
    runs = two_runs(question, metric, token_ids, parts, n_prompt=n_prompt)
    patching = Patching(runs, metric, segments, parts, Work(question))
    yield from patching.compute_both_runs()
    plan = plan_patches(runs, parts)
    scores = yield from patching.scores_of(plan.patches)
    maps = {name: encode_tensor(spread(scores, indices)) for name, indices in plan.maps.items()}
    text = parts.tokens.token_text
    yield PatchingReady(
        request_id=question.request_id,
        run_id=question.run_id,
        metric=metric,
        corrupted_value=patching.corrupted_value,
        clean_tokens=[text(token_id) for token_id in runs.clean_ids],
        corrupted_tokens=[text(token_id) for token_id in runs.corrupted_ids],
        first_difference=runs.first,
        resid_pre=maps["resid_pre"],
        attn_out=maps["attn_out"],
        mlp_out=maps["mlp_out"],
        heads_last=maps["heads_last"],
        heads_all=maps["heads_all"],
        resid_distance=encode_tensor(patching.seen.resid_distance),
        head_norm_difference=encode_tensor(patching.seen.head_norm_difference()),
        n_patches=len(plan.patches),
        secs=time.perf_counter() - started,
    )


def two_runs(
    question: RequestPatching, metric: Metric, token_ids: Sequence[int], parts: ModelParts, *, n_prompt: int
) -> TwoRuns:
    """The run, and the run that it would have been with the question's prompt. Raises AnalysisRefusedError."""
    prompt = parts.tokens.tokenize(question.corrupted_prompt, apply_chat_template=question.apply_chat_template)
    if len(prompt) != n_prompt:
        more = n_prompt - len(prompt)
        change = f"{abs(more)} token{'s' if abs(more) > 1 else ''} {'more' if more > 0 else 'less'}"
        raise AnalysisRefusedError(
            "prompts_differ_in_length",
            f"the second prompt has {len(prompt)} tokens and the run's has {n_prompt}: position by position they "
            f"cannot be compared, so give it {change}",
        )
    n = metric.pos + 1
    clean, corrupted = list(token_ids[:n]), [*prompt, *token_ids[n_prompt:n]][:n]
    differing = [at for at, (one, other) in enumerate(zip(clean, corrupted, strict=True)) if one != other]
    if not differing:
        raise AnalysisRefusedError(
            "prompts_are_equal", f"both prompts have the same tokens up to position {metric.pos}: change a word"
        )
    return TwoRuns(clean_ids=clean, corrupted_ids=corrupted, first=differing[0])


def plan_patches(runs: TwoRuns, parts: ModelParts) -> Plan:
    """All patches that can make a difference: before the first differing token both runs are the same."""
    shape, n = parts.anatomy.shape, len(runs.clean_ids)
    patches: list[Patch] = []
    maps: dict[str, np.ndarray[tuple[int, int], np.dtype[np.int64]]] = {}

    def add(patch: Patch) -> int:
        patches.append(patch)
        return len(patches) - 1

    for site in ("resid_pre", "attn_out", "mlp_out"):
        indices = np.full((shape.n_layers, n), -1)
        for layer in range(shape.n_layers):
            for pos in range(runs.first, n):
                indices[layer, pos] = add(Patch(site=site, layer=layer, start=pos, stop=pos + 1))
        maps[site] = indices
    for name, start in (("heads_last", n - 1), ("heads_all", runs.first)):
        indices = np.full((shape.n_layers, shape.n_heads), -1)
        for layer in range(shape.n_layers):
            for head in range(shape.n_heads):
                indices[layer, head] = add(Patch(site="z", layer=layer, start=start, stop=n, head=head))
        maps[name] = indices
    return Plan(patches=patches, maps=maps)


def spread(scores: F32, indices: np.ndarray[tuple[int, int], np.dtype[np.int64]]) -> F32:
    """`scores` at `indices`, 0 where an index is -1: nothing differs there, so nothing can change."""
    return np.where(indices < 0, np.float32(0), scores[np.maximum(indices, 0)]).astype(np.float32)


@dataclass(slots=True, kw_only=True)
class Seen:
    """How far apart the two runs are where they were computed, nothing patched.

    resid_distance [n_layers+1, n_pos]: |clean - corrupted| / |corrupted| of the stream before each layer
    and after the last. clean_norms, corrupted_norms [n_layers, n_heads]: of what heads write, last position.
    """

    resid_distance: F32
    clean_norms: F32
    corrupted_norms: F32

    def head_norm_difference(self) -> F32:
        """[n_layers, n_heads]: clean - corrupted."""
        return self.clean_norms - self.corrupted_norms


class Patching:
    """Two runs, computed once, and what patches from the clean into the corrupted one do to the metric.

    After `compute_both_runs`: clean_value, corrupted_value, source, prefix (the corrupted run's cache), seen.
    """

    def __init__(
        self,
        runs: TwoRuns,
        metric: Metric,
        segments: Sequence[MaskSegment],
        parts: ModelParts,
        work: Work,
    ) -> None:
        shape = parts.anatomy.shape
        self.runs, self.metric, self.segments, self.parts = runs, metric, segments, parts
        self.direction, self.constant = metric_direction(parts, metric)
        self.source = SourceRun(from_pos=runs.first)
        self.prefix: Cache = new_cache()
        self.clean_value = self.corrupted_value = 0.0
        heads = (shape.n_layers, shape.n_heads)
        self.seen = Seen(
            resid_distance=np.zeros((shape.n_layers + 1, len(runs.clean_ids)), np.float32),
            clean_norms=np.zeros(heads, np.float32),
            corrupted_norms=np.zeros(heads, np.float32),
        )
        self._work = work
        self._tokens_per_piece = tokens_per_piece(parts)

    def compute_both_runs(self) -> Iterator[AnalysisProgress]:
        """The clean and the corrupted run. Raises AnalysisRefusedError when they do not differ enough."""
        runs, n_layers = self.runs, self.parts.anatomy.shape.n_layers
        check_tokens(self.parts, runs.corrupted_ids)
        self._work.expect(2 * len(replay_plan(self.parts, runs.clean_ids, self.segments)))
        piece: Piece | None = None
        streams: list[list[Tensor]] = []
        for piece in replay(self.parts, runs.clean_ids, self.segments, cache=new_cache(), sites=_SITES):
            self.source.add(piece, n_layers)
            streams.append([_captured(tensor)[0] for tensor in piece.tensors["resid"]])
            yield self._work.step()
        self.clean_value, self.seen.clean_norms = self._value(piece), self._head_norms(piece)
        corrupted = replay(self.parts, runs.corrupted_ids, self.segments, cache=self.prefix, sites=_SITES)
        for index, piece in enumerate(corrupted):
            self._compare_streams(piece, streams[index])
            yield self._work.step()
        self.corrupted_value, self.seen.corrupted_norms = self._value(piece), self._head_norms(piece)
        self._check_values()

    def _check_values(self) -> None:
        tolerance = 1e-2 if self.parts.model.dtype == torch.float32 else 1e-1
        if not abs(self.clean_value - self.metric.value) <= tolerance * max(1.0, abs(self.metric.value)):
            raise EngineError(
                "the run could not be computed again: its metric came out as "
                f"{self.clean_value:.4g}, not {self.metric.value:.4g}"
            )
        if not abs(self.clean_value - self.corrupted_value) >= LEAST_DIFFERENCE:
            raise AnalysisRefusedError(
                "prompts_agree",
                f"both prompts give the metric {self.clean_value:.3g} to within {LEAST_DIFFERENCE} logits: there is "
                "nothing to restore, so choose a second prompt that changes the answer, or another target",
            )

    def scores_of(self, patches: Sequence[Patch]) -> Generator[AnalysisProgress, None, F32]:
        """[n_patches]: (patched - corrupted) / (clean - corrupted) of each."""
        values = np.full(len(patches), np.nan, np.float64)
        chunks = self._chunks(patches)
        self._work.expect(sum(len(self._spans(chunk, patches)) for chunk in chunks))
        for chunk in chunks:
            together = [patches[index] for index in chunk]
            start = min(patch.start for patch in together)
            cache = prefix_cache(self.prefix, self.parts.anatomy.shape.n_layers, n_positions=start, keeps_rows=True)
            piece: Piece | None = None
            for span in self._spans(chunk, patches):
                piece = self._run(together, span, cache)
                yield self._work.step()
            values[chunk] = self._values(piece)[1:]
        return ((values - self.corrupted_value) / (self.clean_value - self.corrupted_value)).astype(np.float32)

    def _run(self, patches: Sequence[Patch], span: range, cache: Cache) -> Piece:
        return run_patched(
            self.parts,
            self.runs.corrupted_ids[span.start : span.stop],
            patches,
            start=span.start,
            cache=cache,
            source=self.source,
            segments=self.segments,
        )

    def _chunks(self, patches: Sequence[Patch]) -> list[list[int]]:
        """Indices of patches that share a forward call: one start, ascending by layer, bounded work and memory."""
        n_layers = self.parts.anatomy.shape.n_layers
        order = sorted(range(len(patches)), key=lambda index: (patches[index].start, patches[index].layer))
        chunks: list[list[int]] = []
        cost, start = 0.0, -1
        for index in order:
            patch = patches[index]
            more = 1 - patch.layer / n_layers
            is_full = not chunks or patch.start != start or len(chunks[-1]) >= _MOST_ROWS
            if is_full or cost + more > self._rows_together(patch.start):
                chunks.append([])
                cost, start = 1.0, patch.start  # row 0
            chunks[-1].append(index)
            cost += more
        return chunks

    def _rows_together(self, start: int) -> float:
        """How many rows through all layers share a forward call that begins at `start`: at least eight."""
        shape, n = self.parts.anatomy.shape, len(self.runs.clean_ids)
        by_work = max(8, self._tokens_per_piece // (n - start))
        a_row = 2 * shape.n_layers * shape.n_key_value_heads * shape.d_head * n * self.parts.model.dtype.itemsize
        return float(max(2, min(by_work, _CHUNK_BYTES // a_row)))

    def _spans(self, chunk: Sequence[int], patches: Sequence[Patch]) -> list[range]:
        """The positions of a chunk's forward calls, each of bounded work."""
        n_layers, start, n = self.parts.anatomy.shape.n_layers, patches[chunk[0]].start, len(self.runs.clean_ids)
        rows = 1 + sum(1 - patches[index].layer / n_layers for index in chunk)
        longest = max(1, int(self._tokens_per_piece / rows))
        return [range(at, min(at + longest, n)) for at in range(start, n, longest)]

    def _value(self, piece: Piece | None) -> float:
        return float(self._values(piece)[0])

    @torch.inference_mode()
    def _values(self, piece: Piece | None) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """[row]: the metric before any soft cap, at the last position of a piece."""
        if piece is None:
            raise RuntimeError("a run has at least one token")
        values = piece.normed[:, -1].float() @ self.direction + self.constant
        found: np.ndarray[tuple[int], np.dtype[np.float64]] = values.double().cpu().numpy()
        return found

    @torch.inference_mode()
    def _head_norms(self, piece: Piece | None) -> F32:
        """[n_layers, n_heads]: the norm of what each head writes at the last position, as channel `heads` has it."""
        if piece is None:
            raise RuntimeError("a run has at least one token")
        shape = self.parts.anatomy.shape
        z = torch.stack([_captured(tensor)[0, -1] for tensor in piece.tensors["z"]]).float()
        norms = self.parts.weights.head_norms(z.view(shape.n_layers, shape.n_heads, shape.d_head))
        return np.asarray(norms.cpu().numpy(), np.float32)

    @torch.inference_mode()
    def _compare_streams(self, piece: Piece, clean: Sequence[Tensor]) -> None:
        for layer, (tensor, of_clean) in enumerate(zip(piece.tensors["resid"], clean, strict=True)):
            corrupted = _captured(tensor)[0].float()
            distance = (of_clean.float() - corrupted).norm(dim=-1) / corrupted.norm(dim=-1).clamp_min(1e-12)
            self.seen.resid_distance[layer, piece.start : piece.stop] = distance.cpu().numpy()


def _captured(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise RuntimeError("a layer did not run, or did not fire its hook")
    return tensor
