"""Answers what the stream, the heads and their looks hold at a token. For the model thread only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

import numpy as np
import torch
from torch import Tensor

from livelens.analysis.head_lens import WRITE_SITES, Promoted, joined, lens_of_writes, portions
from livelens.analysis.lens import logit_statistics
from livelens.analysis.progress import Work, as_progress
from livelens.analysis.stream_pca import stream_pca
from livelens.analysis.words import labelled
from livelens.model.captured import CapturedTensors, TorchCaptured
from livelens.model.engine import AnalysisContext, DirectLogit, LogitPair
from livelens.model.kept_prefix import KeptPrefix, LookedInto, mask_segments
from livelens.model.lens_thread import LensThread
from livelens.model.metrics import MetricTokens, metric_tokens
from livelens.model.replay import ModelParts, Piece
from livelens.protocol.messages import (
    AnalysisProgress,
    AttentionEntropyReady,
    HeadLensReady,
    LensAnswer,
    LensQuestion,
    LensReady,
    MetricQuestion,
    RequestAttentionEntropy,
    RequestHeadLens,
    RequestLens,
    RequestStreamPca,
    TokenInfo,
)
from livelens.protocol.tensors import encode_tensor


class LensAnalyst:
    """One model's answers about tokens looked into. `drop` when its memory is wanted for something else."""

    def __init__(self, parts: ModelParts) -> None:
        self._parts = parts
        self._prefix = KeptPrefix(parts)

    def drop(self) -> None:
        """Let go of the run that is kept."""
        self._prefix.drop()

    def answer(self, question: LensQuestion, context: AnalysisContext) -> Iterator[AnalysisProgress | LensAnswer]:
        """Progress, then the answer; see `Engine.analyse`."""
        match question:
            case RequestLens():
                yield from self._lens(question, context)
            case RequestHeadLens():
                yield from self._head_lens(question, context)
            case RequestStreamPca():
                token_ids = context.token_ids[: context.n_positions]
                yield from stream_pca(question, token_ids, mask_segments(context), self._parts)
            case RequestAttentionEntropy():
                yield from self._entropy(question, context)
            case _:
                assert_never(question)

    def _lens(self, question: RequestLens, context: AnalysisContext) -> Iterator[AnalysisProgress | LensReady]:
        work, parts = Work(question, total=2), self._parts
        looked = yield from self._prefix.look(question.pos, context, work, sites=frozenset())
        yield work.step()
        with torch.inference_mode():
            logits = _lens_logits(parts, looked.piece)
            named = self._named(question, context, logits[-1])
            statistics = logit_statistics(logits, named.target_id)
            best = logits.topk(min(question.n_tokens, logits.shape[-1]), dim=-1)
            probs = (best.values - best.values[:, :1]).exp() * statistics.prob[:, None]
        yield LensReady(
            request_id=question.request_id,
            run_id=question.run_id,
            pos=question.pos,
            target_id=named.target_id,
            target_text=parts.tokens.token_text(named.target_id),
            notice=named.notice,
            top=[labelled(parts, ids, row) for ids, row in zip(best.indices, probs, strict=True)],
            entropy=encode_tensor(statistics.entropy.cpu().numpy()),
            rank=encode_tensor(statistics.rank.cpu().numpy().astype(np.int32)),
            logprob=encode_tensor(statistics.logprob.cpu().numpy()),
        )

    def _head_lens(
        self, question: RequestHeadLens, context: AnalysisContext
    ) -> Iterator[AnalysisProgress | HeadLensReady]:
        parts = self._parts
        work = Work(question, total=2 + len(portions(parts)))
        looked = yield from self._prefix.look(question.pos, context, work, sites=WRITE_SITES)
        yield work.step()
        with torch.inference_mode():
            own = parts.readout.logits(looked.piece.normed[0, -1:])[0]
        named = self._named(question, context, own)
        direct = self._direct(looked, own, named.target_id)
        factors = {layer: float(factor.flatten()[0]) for layer, factor in looked.edits.attn_factors.items()}
        steps = lens_of_writes(parts, looked.piece, factors, target_id=named.target_id, n_tokens=question.n_tokens)
        heads, mlps = yield from as_progress(steps, work)
        yield self._head_lens_answer(question, named, heads, mlps, direct)

    def _head_lens_answer(
        self, question: RequestHeadLens, named: MetricTokens, heads: Promoted, mlps: Promoted, direct: DirectLogit
    ) -> HeadLensReady:
        parts, shape = self._parts, self._parts.anatomy.shape

        def by_head(rows: list[Tensor]) -> Tensor:
            every = joined(rows)
            return every.view(shape.n_layers, shape.n_heads, *every.shape[1:])

        ids, mlp_ids = by_head(heads.token_ids), joined(mlps.token_ids)
        seen = sorted({*ids.flatten().tolist(), *mlp_ids.flatten().tolist()})
        return HeadLensReady(
            request_id=question.request_id,
            run_id=question.run_id,
            pos=question.pos,
            target_id=named.target_id,
            target_text=parts.tokens.token_text(named.target_id),
            notice=named.notice,
            head_token_id=encode_tensor(ids.numpy().astype(np.int32)),
            head_value=encode_tensor(by_head(heads.values).numpy()),
            head_rank=encode_tensor(by_head(heads.ranks).numpy().astype(np.int32)),
            mlp_token_id=encode_tensor(mlp_ids.numpy().astype(np.int32)),
            mlp_value=encode_tensor(joined(mlps.values).numpy()),
            mlp_rank=encode_tensor(joined(mlps.ranks).numpy().astype(np.int32)),
            words=[TokenInfo(token_id=token_id, text=parts.tokens.token_text(token_id)) for token_id in seen],
            direct_heads=encode_tensor(direct.heads),
            direct_mlps=encode_tensor(direct.mlps),
            direct_bias=encode_tensor(direct.attn_bias),
            embed=direct.embed,
            final_bias=direct.final_bias,
            total=direct.total,
        )

    def _direct(self, looked: LookedInto, own: Tensor, target_id: int) -> DirectLogit:
        """What every component adds to the target's logit above the mean of all."""
        parts, piece = self._parts, looked.piece
        captured = TorchCaptured(
            CapturedTensors(
                sites=piece.tensors,
                normed=piece.normed,
                last_logits=own[None],
                next_ids=[],
                edits=looked.edits,
                written=piece.written,
            ),
            readout=parts.readout,
            weights=parts.weights,
            lens_thread=LensThread(parts.readout),
        )
        arrays = captured.arrays(
            0, channels=frozenset(("direct_logit",)), chosen_id=target_id, pair=LogitPair(target_id=target_id)
        )
        if arrays.direct is None:
            raise RuntimeError("direct contributions were asked for")
        return arrays.direct

    def _entropy(
        self, question: RequestAttentionEntropy, context: AnalysisContext
    ) -> Iterator[AnalysisProgress | AttentionEntropyReady]:
        work = Work(question, total=1)
        looked = yield from self._prefix.look(question.pos, context, work, sites=frozenset(("pattern",)))
        patterns = looked.piece.tensors["pattern"]
        with torch.inference_mode():
            rows = [pattern[0, :, -1].float() for pattern in patterns if pattern is not None]
            entropy = torch.stack([torch.special.entr(row).sum(-1) for row in rows])
            best = [row.max(-1) for row in rows]
        yield AttentionEntropyReady(
            request_id=question.request_id,
            run_id=question.run_id,
            pos=question.pos,
            entropy=encode_tensor(entropy.cpu().numpy()),
            top_key=encode_tensor(torch.stack([each.indices for each in best]).cpu().numpy().astype(np.int32)),
            top_weight=encode_tensor(torch.stack([each.values for each in best]).cpu().numpy()),
        )

    def _named(self, question: RequestLens | RequestHeadLens, context: AnalysisContext, logits: Tensor) -> MetricTokens:
        """The target; raises AnalysisRefusedError for one that is none."""
        asked = MetricQuestion(pos=question.pos, target=question.target, against_mean=True)
        return metric_tokens(asked, context.token_ids, logits, self._parts.tokens)


def _lens_logits(parts: ModelParts, piece: Piece) -> Tensor:
    """[n_layers, d_vocab] float32 of a piece of one position; the last layer's are the model's own."""
    before_last = [stream[0, 0] for stream in piece.tensors["resid"][1:-1] if stream is not None]
    own = piece.normed[0, -1:]
    if not before_last:
        return parts.readout.logits(own)
    normed = parts.anatomy.final_norm(torch.stack(before_last))
    return parts.readout.logits(torch.cat([normed, own]))
