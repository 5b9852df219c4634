"""What one head does: where it looks in this run, what it writes for what it sees, and who feeds it.

The pattern and the values are the run's own, computed again under its interventions. What is written for a
token is `weight . value @ W_O`, through norms with their scale at the query frozen, so that the tokens' logits
sum to the head's direct effect (Elhage et al. 2021). An ablation of the head itself is left out of that: it is
what the head would write. Who feeds it is asked of the weights alone (`composition.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from livelens.analysis.composition import composition_scores
from livelens.analysis.head_scores import measured_scores
from livelens.analysis.progress import Work
from livelens.analysis.words import logits_written, words_of
from livelens.model.caches import new_cache
from livelens.model.capture import CaptureSite
from livelens.model.edits import Segment
from livelens.model.engine import AnalysisRefusedError
from livelens.model.part_weights import HeadWeights, head_weights
from livelens.model.replay import ModelParts, Piece, refuse_unknown, replay, replay_plan
from livelens.protocol.messages import (
    AnalysisProgress,
    Component,
    EdgePart,
    Feeder,
    HeadProfileReady,
    HeadScore,
    ReadToken,
    RequestHeadProfile,
)
from livelens.protocol.tensors import encode_tensor

MAX_POSITIONS = 2048
N_READS, N_WORDS, N_FEEDERS = 8, 8, 12
_SITES: frozenset[CaptureSite] = frozenset(("pattern", "attn_raw"))


@dataclass(slots=True)
class _Seen:
    """What a head did in a run: rows of its pattern [positions, keys so far], and the streams at the query."""

    rows: list[Tensor] = field(default_factory=list)
    attn_raw: Tensor | None = None
    end: Tensor | None = None


def head_profile(
    question: RequestHeadProfile,
    token_ids: Sequence[int],
    segments: Sequence[Segment],
    parts: ModelParts,
    *,
    cache: Path | None = None,
) -> Iterator[AnalysisProgress | HeadProfileReady]:
    """The head's profile in this run; the answer comes last.

    cache: the folder of measured head scores, livelens's own by default. Raises AnalysisRefusedError for
    a head or a query that do not exist, EngineError when the run cannot be computed.
    """
    layer, head = question.layer, question.head_index
    query_pos = _check(question, token_ids, parts)
    work = Work(question, total=len(replay_plan(parts, token_ids, segments)) + layer)
    scores = yield from measured_scores(parts, work, cache=cache)
    seen, kept = _Seen(), new_cache()
    for piece in replay(parts, token_ids, segments, cache=kept, sites=_SITES):
        _keep(seen, piece, layer, head, query_pos)
        yield work.step()
    pattern = _square(seen.rows, len(token_ids))
    feeders = yield from _feeders(question, parts, work)
    yield HeadProfileReady(
        request_id=question.request_id,
        run_id=question.run_id,
        layer=layer,
        head_index=head,
        query_pos=query_pos,
        pattern=encode_tensor(pattern.half().cpu().numpy()),
        entropy=encode_tensor(torch.special.entr(pattern).sum(-1).cpu().numpy()),
        score=_score_of(scores, layer, head),
        reads=_reads(parts, question, token_ids, pattern[query_pos], seen, _values(kept, parts, layer, head)),
        feeders=feeders,
    )


def feeders_of(parts: ModelParts, layer: int, head: int) -> Iterator[list[Feeder]]:
    """Each earlier layer's heads, by how strongly they feed each of this head's inputs; one layer at a time."""
    mine = head_weights(parts, layer)
    query, key, value = mine.query[head], mine.key[head], mine.value[head]
    readers: dict[EdgePart, tuple[Tensor, Tensor]] = {
        "query": (query, key.T),
        "key": (key, query.T),
        "value": (value, mine.output[head]),
    }
    for earlier in range(layer):
        writers: HeadWeights = head_weights(parts, earlier)
        scores = composition_scores((writers.value, writers.output), list(readers.values()))
        yield [
            Feeder(component=Component(kind="head", layer=earlier, index=index), part=part, score=score)
            for part, row in zip(readers, scores.tolist(), strict=True)
            for index, score in enumerate(row)
        ]


def _check(question: RequestHeadProfile, token_ids: Sequence[int], parts: ModelParts) -> int:
    """The query's position; the key is looked at by it. Raises AnalysisRefusedError."""
    refuse_unknown(Component(kind="head", layer=question.layer, index=question.head_index), parts)
    n = len(token_ids)
    if n > MAX_POSITIONS:
        raise AnalysisRefusedError(
            "run_too_long", f"a head's pattern is shown for at most {MAX_POSITIONS} tokens, the run has {n}"
        )
    query_pos = n - 1 if question.query_pos is None else question.query_pos
    if not 0 <= query_pos < n:
        raise AnalysisRefusedError("not_computed", f"token {query_pos} is outside the run: it has tokens 0 to {n - 1}")
    if question.key_pos is not None and question.key_pos > query_pos:
        raise AnalysisRefusedError(
            "position_out_of_range",
            f"token {query_pos} looks at tokens 0 to {query_pos}, not at {question.key_pos}",
        )
    return query_pos


def _keep(seen: _Seen, piece: Piece, layer: int, head: int, query_pos: int) -> None:
    pattern, end = piece.tensors["pattern"][layer], piece.tensors["resid"][-1]
    if pattern is None or end is None:
        raise RuntimeError("a layer did not run")
    seen.rows.append(pattern[0, head].float().clone())  # the rest of the layer's pattern goes
    if piece.start <= query_pos < piece.stop:
        raw = piece.tensors["attn_raw"][layer]
        seen.end = end[0, query_pos - piece.start].float()
        seen.attn_raw = None if raw is None else raw[0, query_pos - piece.start].float()


def _square(rows: Sequence[Tensor], n: int) -> Tensor:
    """Blocks of rows [positions, keys so far] as one pattern [n, n]."""
    pattern = rows[0].new_zeros(n, n)
    start = 0
    for block in rows:
        pattern[start : start + len(block), : block.shape[-1]] = block
        start += len(block)
    return pattern


def _values(cache: Cache, parts: ModelParts, layer: int, head: int) -> Tensor:
    """[n, d_head]: the values that a head mixes, as the run computed them."""
    values = cache.layers[layer].values
    shape = parts.anatomy.shape
    if not isinstance(values, Tensor) or values.shape[1] != shape.n_key_value_heads:
        raise RuntimeError("a layer kept no values")
    return values[0, head // (shape.n_heads // shape.n_key_value_heads)].float()


def _reads(
    parts: ModelParts,
    question: RequestHeadProfile,
    token_ids: Sequence[int],
    weights: Tensor,
    seen: _Seen,
    values: Tensor,
) -> list[ReadToken]:
    """The tokens that the query looks at most and the one asked for; what the head writes for each of them."""
    keys = weights.topk(min(N_READS, int((weights > 0).sum()))).indices
    if question.key_pos is not None and question.key_pos not in keys.tolist():
        keys = torch.cat([keys, keys.new_tensor([question.key_pos])])
    read = weights[keys]
    logits = logits_read(parts, question, seen, read[:, None] * values[keys])
    return [
        ReadToken(
            key_pos=key_pos,
            text=parts.tokens.token_text(token_ids[key_pos]),
            weight=weight,
            promoted=words.promoted,
            suppressed=words.suppressed,
        )
        for key_pos, weight, row in zip(keys.tolist(), read.tolist(), logits, strict=True)
        for words in [words_of(parts, row, n_tokens=N_WORDS)]
    ]


@torch.inference_mode()
def logits_read(parts: ModelParts, question: RequestHeadProfile, seen: _Seen, mixed: Tensor) -> Tensor:
    """[n, d_vocab]: what each part of z, mixed [n, d_head], adds to the logits at the query."""
    shape, weights = parts.anatomy.shape, parts.weights
    output = weights.head_output[question.layer].float().reshape(shape.n_heads, shape.d_head, shape.d_model)
    written = mixed @ output[question.head_index]
    norm = parts.anatomy.layers[question.layer].attention_post_norm
    if norm is not None and seen.attn_raw is not None:
        written = parts.anatomy.norm_weights(norm).push(written, seen.attn_raw)
    if seen.end is None:
        raise RuntimeError("the query was not computed")
    return logits_written(parts, weights.final_norm.push(written, seen.end))


def _feeders(
    question: RequestHeadProfile, parts: ModelParts, work: Work
) -> Generator[AnalysisProgress, None, list[Feeder]]:
    """The strongest feeders of each of the head's inputs, strongest first."""
    found: list[Feeder] = []
    for feeders in feeders_of(parts, question.layer, question.head_index):
        found += feeders
        yield work.step()
    found.sort(key=lambda feeder: -feeder.score)
    parts_of_head: tuple[EdgePart, ...] = ("query", "key", "value")
    strongest = [[f for f in found if f.part == part][:N_FEEDERS] for part in parts_of_head]
    return sorted((feeder for each in strongest for feeder in each), key=lambda feeder: -feeder.score)


def _score_of(scores: Sequence[HeadScore], layer: int, head: int) -> HeadScore:
    return next(score for score in scores if (score.layer, score.head_index) == (layer, head))
