"""Answers about a run, as the Python client gives them: the wire's, with numpy arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from livelens.protocol.messages import (
    Component,
    Event,
    Feeder,
    HeadScore,
    Metric,
    NeuronContext,
    ReadToken,
    RelevanceMethod,
    Tensor,
    TopToken,
)
from livelens.protocol.tensors import reconstruct

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

F32 = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Values:
    """Components' values by position: float32 [n_components, n_positions], NaN where not captured."""

    components: list[Component]
    positions: list[int]
    values: F32
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attention:
    """One attention row, float32 [query_pos+1]."""

    row: F32
    exact: bool


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
    placed: float


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
    past_contexts: list[NeuronContext]
    n_past_runs: int
    n_past_tokens: int


_Held = TypeVar("_Held", bound="DataclassInstance")


def with_arrays(answer: Event, kind: type[_Held], **given: object) -> _Held:
    """`answer` as `kind`: the fields of the same names, tensors as arrays in float32 or int32; `given` instead."""
    values = dict(given)
    for field in fields(kind):
        if field.name not in given:
            value = getattr(answer, field.name)
            values[field.name] = _array(value) if isinstance(value, Tensor) else value
    make: Callable[..., _Held] = kind
    return make(**values)


def _array(tensor: Tensor) -> NDArray[np.float32] | NDArray[np.int32]:
    values = reconstruct(tensor)
    return values.astype(np.int32) if np.issubdtype(values.dtype, np.integer) else values.astype(np.float32)
