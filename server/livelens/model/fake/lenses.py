"""What the fake network answers about a token: lenses, paths of the stream, entropy of looks; in numpy, exact."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import assert_never

import numpy as np
from numpy.typing import NDArray

from livelens.model.engine import F32, I32, AnalysisContext, AnalysisRefusedError, Engine, LogitPair
from livelens.model.fake.captured import FakeCaptured, Position, normalised
from livelens.model.fake.sequence import FakeSequence
from livelens.model.fake.weights import FakeWeights
from livelens.protocol.messages import (
    AnalysisKind,
    AttentionEntropyReady,
    Channel,
    HeadLensReady,
    LensAnswer,
    LensQuestion,
    LensReady,
    RequestAttentionEntropy,
    RequestHeadLens,
    RequestLens,
    RequestStreamPca,
    StreamPcaReady,
    TokenInfo,
    TopToken,
)
from livelens.protocol.tensors import encode_tensor

FAKE_LENS_KINDS: tuple[AnalysisKind, ...] = ("lens", "head_lens", "stream_pca", "attention_entropy")
_N_AXES, _N_WORDS = 3, 5


class FakeLenses:
    """The answers of one fake engine. `open_sequence`: one without a pace, for the run is computed again."""

    def __init__(self, engine: Engine, weights: FakeWeights, open_sequence: Callable[[], FakeSequence]) -> None:
        self._engine = engine
        self._weights = weights
        self._open_sequence = open_sequence

    def answer(self, question: LensQuestion, context: AnalysisContext) -> Iterator[LensAnswer]:
        """The answer; see `Engine.analyse`."""
        match question:
            case RequestLens():
                yield self._lens(question, context)
            case RequestHeadLens():
                yield self._head_lens(question, context)
            case RequestStreamPca():
                yield self._stream_pca(question, context)
            case RequestAttentionEntropy():
                yield self._entropy(question, context)
            case _:
                assert_never(question)

    def _replayed(self, context: AnalysisContext, n: int, channels: Sequence[Channel] = ()) -> list[FakeCaptured]:
        """The run's first `n` positions, computed again under its own interventions."""
        sequence = self._open_sequence()
        masks = {pos: segment.masks for segment in context.segments for pos in range(segment.from_pos, n)}
        return [
            sequence.forward([context.token_ids[pos]], masks=masks.get(pos), channels=frozenset(channels))
            for pos in range(n)
        ]

    def _lens(self, question: RequestLens, context: AnalysisContext) -> LensReady:
        place = self._replayed(context, question.pos + 1)[-1].position(0)
        logits = normalised(place.residual[1:]) @ self._weights.W_U.T
        target_id, notice = self._target(question, context, logits[-1])
        probs = np.exp(logits - logits.max(-1, keepdims=True))
        probs /= probs.sum(-1, keepdims=True)
        best = np.argsort(-probs, axis=-1, kind="stable")[:, : question.n_tokens]
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.nan_to_num(probs * np.log(probs))
            logprob = np.log(probs[:, target_id])
        return LensReady(
            request_id=question.request_id,
            run_id=question.run_id,
            pos=question.pos,
            target_id=target_id,
            target_text=self._engine.token_text(target_id),
            notice=notice,
            top=[self._labelled(ids, row[ids]) for ids, row in zip(best, probs, strict=True)],
            entropy=encode_tensor(-terms.sum(-1)),
            rank=encode_tensor(_ranks(logits, target_id)),
            logprob=encode_tensor(logprob),
        )

    def _head_lens(self, question: RequestHeadLens, context: AnalysisContext) -> HeadLensReady:
        captured = self._replayed(context, question.pos + 1, ["direct_logit"])[-1]
        place = captured.position(0)
        target_id, notice = self._target(question, context, place.logits)
        pair = LogitPair(target_id=target_id)
        only: frozenset[Channel] = frozenset(("direct_logit",))
        direct = captured.arrays(0, channels=only, chosen_id=target_id, pair=pair).direct
        assert direct is not None
        heads, mlps = self._logits(place.head_out, place), self._logits(place.mlp_out, place)
        ids, mlp_ids = (np.argsort(-x, axis=-1, kind="stable")[..., : question.n_tokens] for x in (heads, mlps))
        named = sorted({*ids.ravel().tolist(), *mlp_ids.ravel().tolist()})
        return HeadLensReady(
            request_id=question.request_id,
            run_id=question.run_id,
            pos=question.pos,
            target_id=target_id,
            target_text=self._engine.token_text(target_id),
            notice=notice,
            head_token_id=encode_tensor(ids.astype(np.int32)),
            head_value=encode_tensor(np.take_along_axis(heads, ids, -1)),
            head_rank=encode_tensor(_ranks(heads, target_id)),
            mlp_token_id=encode_tensor(mlp_ids.astype(np.int32)),
            mlp_value=encode_tensor(np.take_along_axis(mlps, mlp_ids, -1)),
            mlp_rank=encode_tensor(_ranks(mlps, target_id)),
            words=[TokenInfo(token_id=token_id, text=self._engine.token_text(token_id)) for token_id in named],
            direct_heads=encode_tensor(direct.heads),
            direct_mlps=encode_tensor(direct.mlps),
            direct_bias=encode_tensor(direct.attn_bias),
            embed=direct.embed,
            final_bias=direct.final_bias,
            total=direct.total,
        )

    def _stream_pca(self, question: RequestStreamPca, context: AnalysisContext) -> StreamPcaReady:
        n = context.n_positions
        if question.skip_first >= n:
            raise AnalysisRefusedError(
                "position_out_of_range", f"the axes cannot leave out {question.skip_first} positions: the run has {n}"
            )
        streams = np.stack([each.position(0).residual for each in self._replayed(context, n)])
        points = (normalised(streams) if question.scaling == "rms" else streams).astype(np.float64)
        kept = points[question.skip_first :].reshape(-1, points.shape[-1])
        mean = kept.mean(axis=0)
        _, sizes, rows = np.linalg.svd(kept - mean, full_matrices=False)
        # A run of few points has fewer dimensions than the picture.
        rows, sizes = np.pad(rows, ((0, _N_AXES), (0, 0))), np.pad(sizes, (0, _N_AXES))
        axes = rows[:_N_AXES] * np.sign(np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1))[:_N_AXES]
        logits = (axes @ self._weights.W_U.T).astype(np.float32)
        logits -= logits.mean(-1, keepdims=True)
        total = float((sizes**2).sum())
        order = np.argsort(-logits, axis=-1, kind="stable")
        return StreamPcaReady(
            request_id=question.request_id,
            run_id=question.run_id,
            scaling=question.scaling,
            skip_first=question.skip_first,
            coordinates=encode_tensor(((points - mean) @ axes.T).astype(np.float32)),
            explained=encode_tensor((sizes[:_N_AXES] ** 2 / (total or 1.0)).astype(np.float32)),
            promoted=[self._labelled(ids[:_N_WORDS], row[ids]) for ids, row in zip(order, logits, strict=True)],
            suppressed=[
                self._labelled(ids[::-1][:_N_WORDS], row[ids[::-1]]) for ids, row in zip(order, logits, strict=True)
            ],
        )

    def _entropy(self, question: RequestAttentionEntropy, context: AnalysisContext) -> AttentionEntropyReady:
        pattern = self._replayed(context, question.pos + 1, ["attention"])[-1].position(0).pattern
        assert pattern is not None
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.nan_to_num(pattern * np.log(pattern))
        return AttentionEntropyReady(
            request_id=question.request_id,
            run_id=question.run_id,
            pos=question.pos,
            entropy=encode_tensor(-terms.sum(-1)),
            top_key=encode_tensor(pattern.argmax(-1).astype(np.int32)),
            top_weight=encode_tensor(pattern.max(-1)),
        )

    def _logits(self, writes: F32, place: Position) -> F32:
        """What writes [..., d_model] add to each logit [..., d_vocab], above the mean of all."""
        end = place.residual[-1]
        scale = np.linalg.norm(end) / np.linalg.norm(normalised(end))  # what the norm divided by
        away: F32 = self._weights.W_U - self._weights.W_U.mean(axis=0)
        logits: F32 = (writes / scale) @ away.T
        return logits.astype(np.float32)

    def _target(
        self, question: RequestLens | RequestHeadLens, context: AnalysisContext, logits: F32
    ) -> tuple[int, str | None]:
        """The token that is meant, and what the person should know of it. Raises AnalysisRefusedError."""
        asked, d_vocab = question.target, len(logits)
        if asked is None:
            ends_here = question.pos + 1 >= len(context.token_ids)
            return (int(logits.argmax()) if ends_here else context.token_ids[question.pos + 1]), None
        ids = [asked] if isinstance(asked, int) else self._engine.token_ids(asked)
        if not ids or ids[0] >= d_vocab:
            raise AnalysisRefusedError(
                "token_unknown", f"{asked!r} is not in the vocabulary: ids are 0 to {d_vocab - 1}"
            )
        first = self._engine.token_text(ids[0])
        return ids[0], None if len(ids) == 1 else f"{asked!r} is {len(ids)} tokens; its first, {first!r}, is taken"

    def _labelled(self, ids: NDArray[np.intp], values: F32) -> list[TopToken]:
        return [
            TopToken(token_id=int(token_id), text=self._engine.token_text(int(token_id)), prob=float(value))
            for token_id, value in zip(ids, values, strict=False)
        ]


def _ranks(logits: F32, target_id: int) -> I32:
    ranks: I32 = (logits > logits[..., [target_id]]).sum(-1).astype(np.int32)
    return ranks
