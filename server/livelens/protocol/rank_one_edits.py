"""Rank-1 edits of a weight matrix: what made one, and what the server says of one that it holds.

`W'x = Wx + amount * value (key . x)` for what enters the matrix, x. The weights themselves are never written.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta, field
from numpy.typing import NDArray

from livelens.protocol.vocabulary import (
    MAX_PROMPT_CHARS,
    Count,
    EditedMatrix,
    EditId,
    Index,
    TokenText,
    WireInput,
    WireValue,
    require_finite,
)

MAX_EDIT_STEPS = 100
MAX_PREFIXES = 8
MAX_EDIT_TEXTS = 64
MAX_SPILLOVER_PROMPTS = 16

_Prompt = Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT_CHARS)]


class RankOneRecipe(WireInput, frozen=True):
    """What makes a rank-1 edit: of which matrix, and how its key and value were found.

    put: a viewer's own key and value. rome: after Meng et al. 2022, "Locating and Editing Factual Associations in
    GPT", on the model with no intervention in force. The key k* is what enters the matrix at the subject's last
    token, the mean over the prompt alone and behind each of `prefixes`; the edit's key is `C^-1 k*`, scaled so that
    the prompt's own has 1 along it, and C the uncentred second moment of what enters the matrix over `covariance`
    plus `ridge` times the mean of its diagonal. none: C is the identity. The value is what, added to what the matrix
    writes at the subject's last token, makes `wanted` likely after the prompt: Adam's steps on
    `-log P(wanted) / its tokens + kl_factor * KL(clean || edited, next token after essence) + weight_decay *
    |value| / |what the matrix writes there|^2`, mean over the prompt and its prefixed forms, the value's norm held to
    `clamp` times that of what the matrix writes; it ends before `n_steps` when the loss is below 0.05.
    """

    kind: Literal["put", "rome"]
    matrix: Annotated[EditedMatrix, Meta(description="mlp_out: W_out of a layer's MLP; ov: W_O of its attention")]
    layer: Index
    head_index: Annotated[Index | None, Meta(description="of ov: only this head's rows of W_O; none: all heads")] = None
    prompt: Annotated[
        str, Meta(max_length=MAX_PROMPT_CHARS, description="of rome; empty: the run's own tokens up to `to_pos`")
    ] = ""
    to_pos: Annotated[
        Index | None, Meta(description="of the run: the position whose prediction is edited; none: the last")
    ] = None
    subject: Annotated[
        str, Meta(max_length=1024, description="of rome: its last occurrence in the prompt; its last token is taken")
    ] = ""
    key_pos: Annotated[Index | None, Meta(description="of rome: that token's position, in place of subject")] = None
    wanted: Annotated[
        Index | TokenText | None, Meta(description="of rome: token id, or a text of one token or more (teacher-forced)")
    ] = None
    prefixes: Annotated[list[_Prompt], Meta(max_length=MAX_PREFIXES, description="put before the prompt")] = field(
        default_factory=list
    )
    covariance: Annotated[
        Literal["none", "built_in", "texts", "prompt"],
        Meta(description="built_in: some sentences of the server's own; prompt: the prompt's own positions"),
    ] = "built_in"
    covariance_texts: Annotated[list[_Prompt], Meta(max_length=MAX_EDIT_TEXTS, description="of `texts`")] = field(
        default_factory=list
    )
    ridge: Annotated[float, Meta(ge=1e-6, le=1e6)] = 0.1
    n_steps: Annotated[int, Meta(ge=1, le=MAX_EDIT_STEPS)] = 20
    learning_rate: Annotated[float, Meta(gt=0, le=10)] = 0.5
    weight_decay: Annotated[float, Meta(ge=0, le=100)] = 0.5
    clamp: Annotated[float, Meta(gt=0, le=100)] = 4.0
    essence: Annotated[
        str, Meta(max_length=MAX_PROMPT_CHARS, description="a text with the subject in it, whose next token is to stay")
    ] = ""
    kl_factor: Annotated[float, Meta(ge=0, le=100)] = 0.0625
    spillover_prompts: Annotated[
        list[_Prompt], Meta(max_length=MAX_SPILLOVER_PROMPTS, description="empty: some of the server's own")
    ] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in ("ridge", "learning_rate", "weight_decay", "clamp", "kl_factor"):
            require_finite(name, getattr(self, name))
        if self.head_index is not None and self.matrix != "ov":
            raise ValueError("head_index belongs to matrix ov: an MLP has no heads")
        if self.kind == "put":
            return
        if self.wanted is None:
            raise ValueError("an edit of kind rome needs a wanted token")
        if bool(self.subject) == (self.key_pos is not None):
            raise ValueError("name the subject, or key_pos, the position of its last token: one of the two")
        if self.to_pos is not None and self.prompt:
            raise ValueError("to_pos is of the run's own tokens: a prompt is taken whole")
        if bool(self.covariance_texts) != (self.covariance == "texts"):
            raise ValueError("a covariance of `texts` needs covariance_texts, and no other takes any")
        if self.essence and self.subject not in self.essence:
            raise ValueError(f"the essence prompt does not hold the subject {self.subject!r}")
        if self.essence and not self.subject:
            raise ValueError("an essence prompt needs the subject as a text, to find it there")


class RankOneEditInfo(WireValue, frozen=True):
    """A rank-1 edit that the server holds: `recipe` says of which matrix."""

    edit_id: EditId
    name: str
    recipe: RankOneRecipe
    d_in: Annotated[Count, Meta(description="width of the key: d_mlp, or n_heads * d_head")]
    d_model: Annotated[Count, Meta(description="width of the value")]
    key_norm: float
    value_norm: float


def key_and_value_id(recipe: RankOneRecipe, key: NDArray[np.float32], value: NDArray[np.float32]) -> str:
    """An edit's id: equal keys and values of one matrix, equal ids, on every server."""
    place = f"{recipe.matrix} {recipe.layer} ".encode()
    return hashlib.sha256(place + key.astype("<f4").tobytes() + value.astype("<f4").tobytes()).hexdigest()[:32]


def rank_one_edit_info(
    key: NDArray[np.float32], value: NDArray[np.float32], *, name: str, recipe: RankOneRecipe
) -> RankOneEditInfo:
    """What is said of an edit; raises ValueError for a key or a value that is not finite or is zero."""
    norms = []
    for what, vector in (("key", key), ("value", value)):
        if not np.isfinite(vector).all():
            raise ValueError(f"the {what} of an edit must be finite numbers: this one holds NaN or infinity")
        norms.append(float(np.linalg.norm(vector.astype(np.float64))))
        if norms[-1] < 1e-12:
            raise ValueError(f"the {what} of this edit is zero: it changes nothing")
    return RankOneEditInfo(
        edit_id=key_and_value_id(recipe, key, value),
        name=name,
        recipe=recipe,
        d_in=key.size,
        d_model=value.size,
        key_norm=norms[0],
        value_norm=norms[1],
    )
