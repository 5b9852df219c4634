"""Directions of the residual stream: what made one, and what the server says of one that it holds."""

from __future__ import annotations

import hashlib
from typing import Annotated

import numpy as np
from msgspec import Meta, field
from numpy.typing import NDArray

from livelens.protocol.vocabulary import (
    MAX_CONTRAST_PROMPTS,
    MAX_PROMPT_CHARS,
    Count,
    DirectionId,
    DirectionKind,
    Index,
    TokenText,
    WireInput,
    WireValue,
)

ContrastPrompts = Annotated[
    list[Annotated[str, Meta(min_length=1, max_length=MAX_PROMPT_CHARS)]], Meta(max_length=MAX_CONTRAST_PROMPTS)
]


class DirectionRecipe(WireInput, frozen=True):
    """What makes a direction.

    contrast: mean of resid_post at the last token over `positive` minus that over `negative`, at least two each;
    the layer is the one asked for, or that which separates held-out prompts best. neuron, head: what
    `index` of `layer` writes: a neuron's output row, what a head wrote at `pos` of the run, or on average over
    the run. unembed: a token's unembedding row. pca: axis number `index` of the run's resid_post at `layer`,
    its first position left out. put: a viewer's own vector.
    """

    kind: DirectionKind
    layer: Annotated[Index | None, Meta(description="none: contrast chooses; unembed has none")] = None
    index: Annotated[Index, Meta(description="head_index, neuron index, or number of the axis, 0 the strongest")] = 0
    pos: Annotated[Index | None, Meta(description="of head: one position of the run; none: all")] = None
    token: Annotated[Index | TokenText | None, Meta(description="of unembed: token id, or its text")] = None
    positive: Annotated[ContrastPrompts, Meta(description="of contrast: what is steered towards")] = field(
        default_factory=list
    )
    negative: Annotated[ContrastPrompts, Meta(description="of contrast: what is steered away from")] = field(
        default_factory=list
    )

    def __post_init__(self) -> None:
        is_contrast = self.kind == "contrast"
        if is_contrast and min(len(self.positive), len(self.negative)) < 2:
            raise ValueError("a contrast needs at least two prompts on each side: one of each is held out")
        if not is_contrast and (self.positive or self.negative):
            raise ValueError(f"a direction of kind {self.kind} takes no prompts: only a contrast does")
        if (self.token is not None) != (self.kind == "unembed"):
            raise ValueError("a direction of kind unembed needs a token, and no other kind takes one")
        if self.kind in ("neuron", "head", "pca") and self.layer is None:
            raise ValueError(f"a direction of kind {self.kind} needs a layer")


class DirectionInfo(WireValue, frozen=True):
    """A direction that the server holds."""

    direction_id: DirectionId
    name: str
    recipe: DirectionRecipe
    d_model: Count
    norm: float
    layer: Annotated[Index | None, Meta(description="where it was read: resid_post of this layer; none: nowhere")]


def direction_id_of(data: bytes) -> str:
    """The id of a direction's float32 little-endian bytes: equal vectors, equal ids, on every server."""
    return hashlib.sha256(data).hexdigest()[:32]


def direction_info(
    vector: NDArray[np.float32], *, name: str, recipe: DirectionRecipe, layer: int | None
) -> DirectionInfo:
    """What is said of a direction; raises ValueError for one that is not finite or has no length."""
    if not np.isfinite(vector).all():
        raise ValueError("a direction must be finite numbers: this one holds NaN or infinity")
    norm = float(np.linalg.norm(vector.astype(np.float64)))
    if norm < 1e-12:
        raise ValueError("a direction of length zero points nowhere")
    return DirectionInfo(
        direction_id=direction_id_of(vector.astype("<f4").tobytes()),
        name=name,
        recipe=recipe,
        d_model=vector.size,
        norm=norm,
        layer=layer,
    )
