"""The Python client's questions about what a token's stream, heads and looks hold.

    lens = await client.lens(run, pos=14)                # lens.top[-1][0].text
    heads = await client.head_lens(run, pos=14, target=" Mary")
    paths = await client.stream_pca(run, skip_first=1)
    looks = await client.attention_entropy(run, pos=14)

`target`, a token id or text, is by default the token that followed. All raise LivelensError.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livelens.client.answers import with_arrays
from livelens.client.asking import Asking, Progress
from livelens.client.run import ClientRun
from livelens.protocol.messages import (
    AttentionEntropyReady,
    HeadLensReady,
    LensReady,
    RequestAttentionEntropy,
    RequestHeadLens,
    RequestLens,
    RequestStreamPca,
    StreamPcaReady,
    StreamScaling,
    TokenInfo,
    TopToken,
)

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lens:
    """Each layer's likeliest tokens: top [n_layers][n_tokens]; entropy (nats), rank, logprob [n_layers]."""

    pos: int
    target_id: int
    target_text: str
    notice: str | None
    top: list[list[TopToken]]
    entropy: F32
    rank: I32
    logprob: F32


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadLens:
    """What heads and MLPs write, as logits above the mean of all. Shapes as in `head_lens_ready`."""

    pos: int
    target_id: int
    target_text: str
    notice: str | None
    head_token_id: I32
    head_value: F32
    head_rank: I32
    mlp_token_id: I32
    mlp_value: F32
    mlp_rank: I32
    words: dict[int, TokenInfo]
    direct_heads: F32
    direct_mlps: F32
    direct_bias: F32
    embed: float
    final_bias: float
    total: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StreamPca:
    """coordinates [n_positions, n_layers+1, 3] of the stream before layer 0 and after each; explained [3], shares."""

    scaling: StreamScaling
    skip_first: int
    coordinates: F32
    explained: F32
    promoted: list[list[TopToken]]
    suppressed: list[list[TopToken]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttentionEntropy:
    """entropy in nats, top_key and top_weight: all [n_layers, n_heads]."""

    pos: int
    entropy: F32
    top_key: I32
    top_weight: F32


class LensQuestions(Asking):
    """Part of `Client`."""

    async def lens(
        self,
        run: ClientRun,
        *,
        pos: int,
        target: int | str | None = None,
        n_tokens: int = 5,
        progress: Progress | None = None,
    ) -> Lens:
        """The logit lens of one position: after each layer the likeliest tokens, and where the target stands."""
        question = RequestLens(
            request_id=self._connection.request_id(), run_id=run.run_id, pos=pos, target=target, n_tokens=n_tokens
        )
        return with_arrays(await self._ask(question, LensReady, progress), Lens)

    async def head_lens(
        self,
        run: ClientRun,
        *,
        pos: int,
        target: int | str | None = None,
        n_tokens: int = 5,
        progress: Progress | None = None,
    ) -> HeadLens:
        """What each head and MLP writes at one position, read as logits; the direct terms sum to `total`."""
        question = RequestHeadLens(
            request_id=self._connection.request_id(), run_id=run.run_id, pos=pos, target=target, n_tokens=n_tokens
        )
        answer = await self._ask(question, HeadLensReady, progress)
        return with_arrays(answer, HeadLens, words={word.token_id: word for word in answer.words})

    async def stream_pca(
        self,
        run: ClientRun,
        *,
        scaling: StreamScaling = "rms",
        skip_first: int = 0,
        progress: Progress | None = None,
    ) -> StreamPca:
        """The residual stream of every token and layer along its three principal axes over the whole run.

        scaling `rms`: each stream vector by its own root mean square. skip_first: so many first positions
        do not shape the axes.
        """
        question = RequestStreamPca(
            request_id=self._connection.request_id(), run_id=run.run_id, scaling=scaling, skip_first=skip_first
        )
        return with_arrays(await self._ask(question, StreamPcaReady, progress), StreamPca)

    async def attention_entropy(
        self, run: ClientRun, *, pos: int, progress: Progress | None = None
    ) -> AttentionEntropy:
        """How widely every head looks from one position, exact."""
        question = RequestAttentionEntropy(request_id=self._connection.request_id(), run_id=run.run_id, pos=pos)
        return with_arrays(await self._ask(question, AttentionEntropyReady, progress), AttentionEntropy)
