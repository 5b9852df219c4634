"""The clean twin: the same run without its interventions, carried beside it as a second row of one batch."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from livelens.protocol.values import TopToken
from livelens.protocol.vocabulary import Index, WireValue


class TwinStep(WireValue, frozen=True, kw_only=True):
    """What the clean row had and predicts at the position of its step; the step itself tells of the patched row."""

    token_id: Annotated[Index, Meta(description="the clean row's token at pos; teacher-forced: the step's")]
    text: Annotated[str, Meta(description="that token alone, for a label")]
    chosen_id: Annotated[
        Index | None,
        Meta(
            description="what the clean row goes on with: teacher-forced the run's chosen token, free-running its own; "
            "none: its text ends here, and positions after this one have no twin"
        ),
    ] = None
    chosen_text: str | None = None
    prefers_id: Annotated[Index, Meta(description="the clean row's most likely next token")]
    prefers_text: str
    logprob: Annotated[
        float, Meta(description="natural log-probability, in the clean row, of the step's chosen_id (not of its own)")
    ]
    kl: Annotated[
        float,
        Meta(ge=0, description="KL(patched || clean) of the next-token distributions at temperature 1, nats"),
    ]
    entropy: Annotated[float, Meta(description="entropy of the clean row's prediction, nats")]
    top_tokens: Annotated[list[TopToken], Meta(description="the clean row's likeliest next tokens, best first")]
