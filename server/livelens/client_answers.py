"""Answers to questions about a run, as the Python client gives them: the wire's, with numpy arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from livelens.protocol.messages import (
    Component,
    EffectsReady,
    Feeder,
    HeadProfileReady,
    HeadScore,
    Metric,
    NeuronContext,
    NeuronProfileReady,
    OverviewReady,
    PatchingReady,
    ReadToken,
    RelevanceMethod,
    RelevanceReady,
    Tensor,
    TopToken,
)
from livelens.protocol.tensors import reconstruct

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Overview:
    """Direct effects on the metric, logits; they sum to it. Shapes as in `overview_ready`."""

    metric: Metric
    layer_line: F32
    direct_heads: F32
    direct_mlps: F32
    direct_bias: F32
    relevance_heads: F32
    relevance_mlps: F32
    embed: float
    final_bias: float
    neurons: list[Component]
    neuron_values: F32
    shown: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenRelevance:
    """tokens float32 [pos+1], logits; tokens and bias sum to total, which misses the metric by error."""

    metric: Metric
    method: RelevanceMethod
    tokens: F32
    bias: float
    total: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Effects:
    """What each ablation did: effects [n] the metric lost, probs [n] the target's probability then."""

    metric: Metric
    components: list[Component]
    effects: F32
    probs: F32
    clean_prob: float
    attributed: F32 | None
    spearman: float | None
    sign_agreement: float | None
    secs: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Patching:
    """What the run's values restore of the metric in the other prompt's run: 0 nothing, 1 all of it.

    resid_pre, attn_out, mlp_out [n_layers, n_pos]; heads_last, heads_all [n_layers, n_heads]. How the two
    runs differ, nothing patched: resid_distance [n_layers+1, n_pos], head_norm_difference [n_layers, n_heads].
    """

    metric: Metric
    corrupted_value: float
    clean_tokens: list[str]
    corrupted_tokens: list[str]
    first_difference: int
    resid_pre: F32
    attn_out: F32
    mlp_out: F32
    heads_last: F32
    heads_all: F32
    resid_distance: F32
    head_norm_difference: F32
    n_patches: int
    secs: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeadProfile:
    """What one head does. pattern [n, n], query by key; entropy [n], nats."""

    layer: int
    head_index: int
    query_pos: int
    pattern: F32
    entropy: F32
    score: HeadScore
    reads: list[ReadToken]
    feeders: list[Feeder]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NeuronProfile:
    """What one neuron does. histogram [n_bins] counts tokens between histogram_edges [n_bins+1]."""

    layer: int
    neuron_index: int
    promoted: list[TopToken]
    suppressed: list[TopToken]
    driven_by: list[TopToken]
    contexts: list[NeuronContext]
    alike_in: list[Feeder]
    alike_out: list[Feeder]
    histogram: F32
    histogram_edges: F32


def _array(tensor: Tensor) -> F32:
    return reconstruct(tensor).astype(np.float32)


def overview_from(answer: OverviewReady) -> Overview:
    """With arrays."""
    return Overview(
        metric=answer.metric,
        layer_line=_array(answer.layer_line),
        direct_heads=_array(answer.direct_heads),
        direct_mlps=_array(answer.direct_mlps),
        direct_bias=_array(answer.direct_bias),
        relevance_heads=_array(answer.relevance_heads),
        relevance_mlps=_array(answer.relevance_mlps),
        embed=answer.embed,
        final_bias=answer.final_bias,
        neurons=answer.neurons,
        neuron_values=_array(answer.neuron_values),
        shown=answer.shown,
    )


def relevance_from(answer: RelevanceReady) -> TokenRelevance:
    """With arrays."""
    return TokenRelevance(
        metric=answer.metric,
        method=answer.method,
        tokens=_array(answer.tokens),
        bias=answer.bias,
        total=answer.total,
        error=answer.error,
    )


def effects_from(answer: EffectsReady) -> Effects:
    """With arrays."""
    return Effects(
        metric=answer.metric,
        components=answer.components,
        effects=_array(answer.effects),
        probs=_array(answer.probs),
        clean_prob=answer.clean_prob,
        attributed=None if answer.attributed is None else _array(answer.attributed),
        spearman=answer.spearman,
        sign_agreement=answer.sign_agreement,
        secs=answer.secs,
    )


def patching_from(answer: PatchingReady) -> Patching:
    """With arrays."""
    return Patching(
        metric=answer.metric,
        corrupted_value=answer.corrupted_value,
        clean_tokens=answer.clean_tokens,
        corrupted_tokens=answer.corrupted_tokens,
        first_difference=answer.first_difference,
        resid_pre=_array(answer.resid_pre),
        attn_out=_array(answer.attn_out),
        mlp_out=_array(answer.mlp_out),
        heads_last=_array(answer.heads_last),
        heads_all=_array(answer.heads_all),
        resid_distance=_array(answer.resid_distance),
        head_norm_difference=_array(answer.head_norm_difference),
        n_patches=answer.n_patches,
        secs=answer.secs,
    )


def head_profile_from(answer: HeadProfileReady) -> HeadProfile:
    """With arrays."""
    return HeadProfile(
        layer=answer.layer,
        head_index=answer.head_index,
        query_pos=answer.query_pos,
        pattern=_array(answer.pattern),
        entropy=_array(answer.entropy),
        score=answer.score,
        reads=answer.reads,
        feeders=answer.feeders,
    )


def neuron_profile_from(answer: NeuronProfileReady) -> NeuronProfile:
    """With arrays."""
    return NeuronProfile(
        layer=answer.layer,
        neuron_index=answer.neuron_index,
        promoted=answer.promoted,
        suppressed=answer.suppressed,
        driven_by=answer.driven_by,
        contexts=answer.contexts,
        alike_in=answer.alike_in,
        alike_out=answer.alike_out,
        histogram=_array(answer.histogram),
        histogram_edges=_array(answer.histogram_edges),
    )
