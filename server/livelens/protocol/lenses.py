"""Questions about what the stream, the heads and their looks hold at a token, and their answers.

The logit lens of one token in words, the same for what each head writes, the way of the residual stream
through the layers, and how widely every head looks.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from livelens.protocol.commands import RunCommand
from livelens.protocol.events import AnswerEvent
from livelens.protocol.step_tensors import Tensor
from livelens.protocol.values import TokenInfo, TopToken
from livelens.protocol.vocabulary import Count, Index, TokenText

MAX_LENS_TOKENS = 16

StreamScaling = Literal["rms", "none"]


class _TokenQuestion(RunCommand, frozen=True):
    """A question about one position, and a token that could come after it."""

    pos: Annotated[Index, Meta(description="position whose prediction is looked into")]
    target: Annotated[
        Index | TokenText | None,
        Meta(description="token id, or its text; none: the token that followed, at the end of the text the likeliest"),
    ] = None
    n_tokens: Annotated[int, Meta(ge=1, le=MAX_LENS_TOKENS, description="strongest tokens to name")] = 5


class RequestLens(_TokenQuestion, frozen=True, tag="request_lens"):
    """The logit lens of one position: after each layer, the likeliest tokens, and where the target stands."""


class RequestHeadLens(_TokenQuestion, frozen=True, tag="request_head_lens"):
    """What each head (and MLP) writes at one position, read as logits: what it promotes, and the target's share."""


class RequestStreamPca(RunCommand, frozen=True, tag="request_stream_pca"):
    """The residual stream of every token and layer along its three principal axes over the whole run."""

    scaling: Annotated[
        StreamScaling,
        Meta(description="`rms`: each stream vector by its own root mean square, as a norm reads it; `none`: as it is"),
    ] = "rms"
    skip_first: Annotated[
        Count, Meta(description="so many first positions do not shape the axes (an attention sink drowns the others)")
    ] = 0


class RequestAttentionEntropy(RunCommand, frozen=True, tag="request_attention_entropy"):
    """How widely every head looks from one position."""

    pos: Index


class LensReady(AnswerEvent, frozen=True, tag="lens_ready"):
    """Answer to `request_lens`: each layer's resid_post through the final norm and unembedding, soft cap included."""

    pos: Index
    target_id: Index
    target_text: str
    notice: Annotated[str | None, Meta(description="e.g. a target of several tokens: its first was taken")]
    top: Annotated[list[list[TopToken]], Meta(description="[n_layers][n_tokens]: likeliest first")]
    entropy: Annotated[Tensor, Meta(description="float32 [n_layers], nats")]
    rank: Annotated[Tensor, Meta(description="int32 [n_layers]: of the target, 0 is top")]
    logprob: Annotated[Tensor, Meta(description="float32 [n_layers]: of the target")]


class HeadLensReady(AnswerEvent, frozen=True, tag="head_lens_ready"):
    """Answer to `request_head_lens`, in logits above the mean of all logits, before any soft cap.

    `z @ W_O[head]` (an MLP: its output) through the final norm, its scale frozen at the whole stream's, and
    the unembedding. The direct terms sum to `total`.
    """

    pos: Index
    target_id: Index
    target_text: str
    notice: str | None
    head_token_id: Annotated[Tensor, Meta(description="int32 [n_layers, n_heads, n_tokens]: most promoted first")]
    head_value: Annotated[Tensor, Meta(description="float32 [n_layers, n_heads, n_tokens]: added to their logits")]
    head_rank: Annotated[Tensor, Meta(description="int32 [n_layers, n_heads]: of the target, 0 is most promoted")]
    mlp_token_id: Annotated[Tensor, Meta(description="int32 [n_layers, n_tokens]")]
    mlp_value: Annotated[Tensor, Meta(description="float32 [n_layers, n_tokens]")]
    mlp_rank: Annotated[Tensor, Meta(description="int32 [n_layers]")]
    words: Annotated[list[TokenInfo], Meta(description="the text of every token named, each once")]
    direct_heads: Annotated[Tensor, Meta(description="float32 [n_layers, n_heads]: added to the target's logit")]
    direct_mlps: Annotated[Tensor, Meta(description="float32 [n_layers]")]
    direct_bias: Annotated[Tensor, Meta(description="float32 [n_layers]: what attention biases write")]
    embed: float
    final_bias: float
    total: Annotated[float, Meta(description="the target's logit above the mean of all logits")]


class StreamPcaReady(AnswerEvent, frozen=True, tag="stream_pca_ready"):
    """Answer to `request_stream_pca`: (scaled stream - mean) along the axes.

    Mean and axes are of all layers and of all positions but the skipped ones together.
    """

    scaling: StreamScaling
    skip_first: Count
    coordinates: Annotated[
        Tensor, Meta(description="float32 [n_positions, n_layers+1, 3]: before layer 0 and after each layer")
    ]
    explained: Annotated[Tensor, Meta(description="float32 [3]: share of the variance along each axis")]
    promoted: Annotated[
        list[list[TopToken]],
        Meta(description="[3]: tokens whose logits each axis raises; `prob` is by how much a unit"),
    ]
    suppressed: Annotated[list[list[TopToken]], Meta(description="[3]: tokens that it lowers")]


class AttentionEntropyReady(AnswerEvent, frozen=True, tag="attention_entropy_ready"):
    """Answer to `request_attention_entropy`, exact."""

    pos: Index
    entropy: Annotated[Tensor, Meta(description="float32 [n_layers, n_heads], nats; 0: one key, ln(pos+1): all alike")]
    top_key: Annotated[Tensor, Meta(description="int32 [n_layers, n_heads]: the key looked at most")]
    top_weight: Annotated[Tensor, Meta(description="float32 [n_layers, n_heads]: with how much")]


LensQuestion = RequestLens | RequestHeadLens | RequestStreamPca | RequestAttentionEntropy
LensAnswer = LensReady | HeadLensReady | StreamPcaReady | AttentionEntropyReady
