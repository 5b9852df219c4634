"""What every head does by habit: previous-token, duplicate-token and induction scores, and what it copies.

The three patterns are those of TransformerLens's `head_detector`: where a head of that kind would look
(Olsson et al. 2022, "In-context Learning and Induction Heads"). The score is the attention that goes there,
averaged over the queries that have somewhere to go (TransformerLens averages over all queries). Measured on
random tokens said twice, with the model's first token (BOS) before them where it has one.

Copying is Elhage et al. 2021 ("A Mathematical Framework for Transformer Circuits"): the eigenvalues of the
full OV circuit W_E W_V W_O W_U, their sum over the sum of their magnitudes. That product of d_vocab by
d_vocab has the non-zero eigenvalues of W_O W_U W_E W_V, which is d_head by d_head. W_U is taken less its mean
token, which moves all logits alike (TransformerLens's `center_unembed`).
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import torch
from torch import Tensor

from livelens.analysis.progress import Work
from livelens.model.caches import new_cache
from livelens.model.capture import CaptureSite
from livelens.model.edits import NO_EDITS
from livelens.model.part_weights import embedding, head_weights, read_through
from livelens.model.replay import ModelParts, run_piece
from livelens.model.sources import cache_folder
from livelens.protocol.messages import AnalysisProgress, HeadScore, HeadScoresReady, RequestHeadScores

N_TEXTS, N_TOKENS, SEED = 8, 40, 0
_METHOD = 1  # of the numbers in a cache file; another number, another file
_VOCAB_BLOCK = 8192
_log = logging.getLogger(__name__)


class _Cached(msgspec.Struct, frozen=True, kw_only=True):
    """A cache file. `texts` [n_texts, n_tokens, seed] and the rest say of what the scores are."""

    method: int
    weights_sha256: str
    texts: list[int]
    scores: list[HeadScore]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternScores:
    """Scores of one layer's heads, 0 to 1, [n_heads] each."""

    previous_token: Tensor
    duplicate_token: Tensor
    induction: Tensor


def head_scores(
    question: RequestHeadScores, parts: ModelParts, *, cache: Path | None = None
) -> Iterator[AnalysisProgress | HeadScoresReady]:
    """Measure every head, or read what was measured of these weights before; the answer comes last.

    cache: the folder that holds it, livelens's own by default. Raises EngineError.
    """
    scores = yield from measured_scores(parts, Work(question), cache=cache)
    yield HeadScoresReady(
        request_id=question.request_id,
        run_id=question.run_id,
        scores=scores,
        n_random_tokens=N_TEXTS * tokens_said(parts),
    )


def measured_scores(
    parts: ModelParts, work: Work, *, cache: Path | None = None
) -> Generator[AnalysisProgress, None, list[HeadScore]]:
    """Every head's scores, layer by layer, from the cache or measured now. Raises EngineError."""
    folder = cache_folder() / "head_scores" if cache is None else cache
    known = _read(folder, parts)
    if known is not None:
        return known
    shape = parts.anatomy.shape
    work.expect(N_TEXTS + -(-shape.d_vocab // _VOCAB_BLOCK) + shape.n_layers)
    measured = yield from _measure(parts, work)
    _write(folder, parts, measured)
    return measured


def detection_patterns(token_ids: Sequence[int]) -> dict[str, Tensor]:
    """Where a head of each kind would look: [n, n], query by key, 1 there and 0 elsewhere."""
    ids = torch.tensor(list(token_ids))
    n = len(ids)
    previous = torch.diag(torch.ones(n - 1), -1)
    duplicate = (ids[:, None] == ids[None, :]).float().tril(-1)
    induction = torch.zeros(n, n)
    induction[:, 1:] = duplicate[:, :-1]  # the token after the one that is the same
    return {"previous_token": previous, "duplicate_token": duplicate, "induction": induction.tril()}


def pattern_scores(pattern: Tensor, token_ids: Sequence[int]) -> PatternScores:
    """Scores of pattern [n_heads, n, n] over one text; 0 where no query has somewhere to go."""
    scores: dict[str, Tensor] = {}
    for name, where in detection_patterns(token_ids).items():
        n_queries = max(int((where.sum(-1) > 0).sum()), 1)
        scores[name] = (pattern.float().cpu() * where).sum((-2, -1)) / n_queries
    return PatternScores(**scores)


def copying_scores(value: Tensor, output: Tensor, middle: Tensor) -> Tensor:
    """[n_heads], -1 to 1: sum over sum of magnitudes of the eigenvalues of each head's full OV circuit.

    value: W_V [n_heads, d_model, d_head]; output: W_O [n_heads, d_head, d_model]; middle: W_U W_E
    [d_model, d_model]; each with what norms do to it folded in.
    """
    eigenvalues = torch.linalg.eigvals((output @ middle @ value).cpu())
    scores: Tensor = eigenvalues.real.sum(-1) / eigenvalues.abs().sum(-1).clamp_min(1e-30)
    return scores


def tokens_said(parts: ModelParts) -> int:
    """How many different tokens a text says: N_TOKENS, fewer where the model cannot take them twice."""
    shape = parts.anatomy.shape
    return max(2, min(N_TOKENS, (shape.n_ctx - 1) // 2, shape.d_vocab // 2))


def random_texts(parts: ModelParts) -> list[list[int]]:
    """The texts that heads are measured on: `tokens_said` different random tokens, said twice."""
    n_tokens = tokens_said(parts)
    d_vocab = parts.anatomy.shape.d_vocab
    first = getattr(parts.model.config, "bos_token_id", None)
    opening = [first] if isinstance(first, int) and 0 <= first < d_vocab else []
    special = {*opening, *parts.tokens.eos_ids(())}
    texts: list[list[int]] = []
    generator = torch.Generator().manual_seed(SEED)
    for _ in range(N_TEXTS):
        drawn = torch.randperm(d_vocab, generator=generator)[: n_tokens + len(special)].tolist()
        said = [token_id for token_id in drawn if token_id not in special][:n_tokens]
        texts.append([*opening, *said, *said])
    return texts


def _measure(parts: ModelParts, work: Work) -> Generator[AnalysisProgress, None, list[HeadScore]]:
    by_layer: list[list[PatternScores]] = [[] for _ in parts.anatomy.layers]
    for text in random_texts(parts):
        for layer, scores in enumerate(_text_scores(parts, text)):
            by_layer[layer].append(scores)
        yield work.step()
    middle = yield from _unembed_embed(parts, work)
    measured: list[HeadScore] = []
    for layer, texts in enumerate(by_layer):
        measured += _layer_scores(parts, layer, texts, middle)
        yield work.step()
    return measured


def _text_scores(parts: ModelParts, text: list[int]) -> list[PatternScores]:
    """Every layer's scores on one text."""
    sites: frozenset[CaptureSite] = frozenset(("pattern",))
    piece = run_piece(parts, text, start=0, cache=new_cache(), edits=NO_EDITS, sites=sites)
    patterns = [pattern for pattern in piece.tensors["pattern"] if pattern is not None]
    return [pattern_scores(pattern[0], text) for pattern in patterns]


def _layer_scores(parts: ModelParts, layer: int, texts: list[PatternScores], middle: Tensor) -> list[HeadScore]:
    weights = head_weights(parts, layer)
    copying = copying_scores(weights.value, weights.output, middle)

    def mean(name: str) -> Tensor:
        return torch.stack([getattr(text, name) for text in texts]).mean(0)

    previous, duplicate, induction = (mean(name) for name in ("previous_token", "duplicate_token", "induction"))
    return [
        HeadScore(
            layer=layer,
            head_index=head,
            previous_token=float(previous[head]),
            duplicate_token=float(duplicate[head]),
            induction=float(induction[head]),
            copying=float(copying[head]),
        )
        for head in range(len(copying))
    ]


@torch.inference_mode()
def _block_product(parts: ModelParts, start: int) -> Tensor:
    span = slice(start, start + _VOCAB_BLOCK)
    unembed = parts.weights.unembed[span].float() - parts.weights.unembed_mean
    return unembed.T @ embedding(parts)[span].float()


def _unembed_embed(parts: ModelParts, work: Work) -> Generator[AnalysisProgress, None, Tensor]:
    """W_U W_E [d_model, d_model] with the final norm before it, block of vocabulary by block."""
    d_model = parts.anatomy.shape.d_model
    total = torch.zeros(d_model, d_model, device=parts.model.device)
    for start in range(0, parts.anatomy.shape.d_vocab, _VOCAB_BLOCK):
        total = total + _block_product(parts, start)
        yield work.step()
    return read_through(parts.weights.final_norm, total)


# ---------------------------------------------------------------------- the cache file


def _path(folder: Path, parts: ModelParts) -> Path:
    name = re.sub(r"[^0-9A-Za-z]", "", parts.info.weights_sha256)[:64]
    return folder / f"{name}-{_METHOD}.json"


def _texts(parts: ModelParts) -> list[int]:
    return [N_TEXTS, tokens_said(parts), SEED]


def _read(folder: Path, parts: ModelParts) -> list[HeadScore] | None:
    """What was measured of these weights; none where there is no file, or none that can be trusted."""
    try:
        cached = msgspec.json.decode(_path(folder, parts).read_bytes(), type=_Cached)
    except (OSError, msgspec.DecodeError):
        return None
    shape = parts.anatomy.shape
    heads = [(score.layer, score.head_index) for score in cached.scores]
    fits = heads == [(layer, head) for layer in range(shape.n_layers) for head in range(shape.n_heads)]
    is_same = cached.method == _METHOD and cached.weights_sha256 == parts.info.weights_sha256
    return cached.scores if fits and is_same and cached.texts == _texts(parts) else None


def _write(folder: Path, parts: ModelParts, scores: list[HeadScore]) -> None:
    """Put the file in its place whole. A folder that cannot be written to costs only the next measurement."""
    cached = _Cached(method=_METHOD, weights_sha256=parts.info.weights_sha256, texts=_texts(parts), scores=scores)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as private:
            part = Path(private) / "part"
            part.write_bytes(msgspec.json.encode(cached))
            os.replace(part, _path(folder, parts))
    except OSError as error:
        _log.warning("head scores could not be kept, they will be measured again: %s", error)
