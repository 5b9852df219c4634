"""What a question's metric means for this run: which two tokens, and what of it the person should know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from livelens.model.engine import AnalysisRefusedError
from livelens.model.tokens import Tokens
from livelens.protocol.messages import Metric, MetricQuestion


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricTokens:
    """The tokens of a metric; `distractor_id` none: the mean of all logits."""

    pos: int
    target_id: int
    distractor_id: int | None
    notice: str | None

    def metric(self, tokens: Tokens, value: float) -> Metric:
        """The metric as the person is told it."""
        distractor_id = self.distractor_id
        return Metric(
            pos=self.pos,
            target_id=self.target_id,
            target_text=tokens.token_text(self.target_id),
            distractor_id=distractor_id,
            distractor_text=None if distractor_id is None else tokens.token_text(distractor_id),
            value=value,
            notice=self.notice,
        )


def metric_tokens(asked: MetricQuestion, token_ids: Sequence[int], logits: Tensor, tokens: Tokens) -> MetricTokens:
    """The tokens that `asked` names; raises AnalysisRefusedError for those that are none, or are one and the same.

    token_ids: of the whole run; logits [d_vocab]: of the prediction after `asked.pos`. No target: the token
    that followed, or at the end of the text the likeliest; no distractor: the likeliest other one.
    """
    d_vocab = logits.shape[-1]
    notices: list[str] = []
    target_id = _named("target", asked.target, d_vocab, tokens, notices)
    if target_id is None:
        ends_here = asked.pos + 1 >= len(token_ids)
        target_id = int(logits.argmax()) if ends_here else token_ids[asked.pos + 1]
    distractor_id = None
    if not asked.against_mean:
        distractor_id = _named("distractor", asked.distractor, d_vocab, tokens, notices)
        if distractor_id is None:
            best: list[int] = logits.topk(2).indices.tolist()
            distractor_id = next(token_id for token_id in best if token_id != target_id)
    if target_id == distractor_id:
        raise AnalysisRefusedError(
            "same_target_and_distractor",
            f"target and distractor are both {tokens.token_text(target_id)!r} (token {target_id}): "
            "choose two that differ (a leading space makes another token)",
        )
    return MetricTokens(
        pos=asked.pos, target_id=target_id, distractor_id=distractor_id, notice="; ".join(notices) or None
    )


def _named(role: str, asked: int | str | None, d_vocab: int, tokens: Tokens, notices: list[str]) -> int | None:
    if asked is None:
        return None
    if isinstance(asked, int):
        if asked >= d_vocab:
            raise AnalysisRefusedError(
                "token_unknown", f"the {role} {asked} is not in the vocabulary: ids are 0 to {d_vocab - 1}"
            )
        return asked
    ids = tokens.token_ids(asked)
    if not ids:
        raise AnalysisRefusedError("token_unknown", f"the {role} {asked!r} has no token in this model")
    if ids[0] >= d_vocab:
        raise AnalysisRefusedError("token_unknown", f"the {role} {asked!r} is not in this model's vocabulary")
    if len(ids) > 1:
        first = tokens.token_text(ids[0])
        notices.append(f"the {role} {asked!r} is {len(ids)} tokens in this model; its first, {first!r}, is taken")
    return ids[0]
