"""The question that makes a rank-1 edit of a weight matrix, and its answer: the edit, and what it does."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from livelens.protocol.commands import RunCommand
from livelens.protocol.events import AnswerEvent
from livelens.protocol.rank_one_edits import RankOneEditInfo, RankOneRecipe
from livelens.protocol.step_tensors import Tensor
from livelens.protocol.values import TopToken
from livelens.protocol.vocabulary import Count, Index, WireValue


class RequestRankOneEdit(RunCommand, frozen=True, tag="request_rank_one_edit"):
    """Make a rank-1 edit; the server holds it from then on, for `edit_id`. It is not put in force."""

    recipe: RankOneRecipe
    name: Annotated[str, Meta(max_length=120, description="empty: the server's own words")] = ""

    def __post_init__(self) -> None:
        if self.recipe.kind == "put":
            raise ValueError("an edit of kind put is sent with put_rank_one_edit")


class Spillover(WireValue, frozen=True):
    """What an edit does to another prompt's next token."""

    prompt: str
    kl: Annotated[float, Meta(description="KL(clean || edited) of the next token, nats")]
    top_before: TopToken
    top_after: TopToken
    wanted_before: Annotated[float, Meta(description="probability of the wanted word's first token")]
    wanted_after: float


class RankOneEditReady(AnswerEvent, frozen=True, tag="rank_one_edit_ready"):
    """Answer to `request_rank_one_edit`. Before and after: with the edit at amount 1 at every position."""

    edit: RankOneEditInfo
    key: Annotated[Tensor, Meta(description="float32 [d_in]")]
    value: Annotated[Tensor, Meta(description="float32 [d_model]")]
    tokens: Annotated[list[str], Meta(description="of the prompt")]
    key_pos: Index
    wanted_tokens: Annotated[list[TopToken], Meta(description="the wanted word's; `prob` is what was before")]
    prob_before: Annotated[float, Meta(description="of the whole wanted word, the product over its tokens")]
    prob_after: float
    top_before: Annotated[list[TopToken], Meta(description="likeliest next tokens after the prompt")]
    top_after: list[TopToken]
    losses: Annotated[Tensor, Meta(description="float32 [n_steps_taken]: before each step")]
    output_norm: Annotated[float, Meta(description="of what the matrix writes at the subject's last token")]
    n_covariance_tokens: Annotated[Count, Meta(description="positions that C is made of; 0: the identity")]
    spillover: list[Spillover]
    notice: str | None = None
    secs: float = 0.0
