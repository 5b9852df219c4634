"""What a forward call of the fake network left behind, read out in the channels of a step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from livelens.model.engine import F32, Captured, DirectLogit, EngineError, LensRows, LogitPair, Prediction, StepArrays
from livelens.model.fake.weights import FakeWeights
from livelens.protocol.messages import Channel, Component

_NORM_EPSILON: Final = 1e-6
_STRONGEST_NEURONS: Final = 32
_Floats = TypeVar("_Floats", F32, NDArray[np.float64])


@dataclass(slots=True)
class Position:
    """What one position computed. head_out [n_layers, n_heads, d_model]; attn_out, mlp_out [n_layers,
    d_model]; residual [n_layers+1, d_model]; logits [d_vocab]."""

    token_id: int
    head_out: F32
    attn_out: F32
    mlp_out: F32
    residual: F32
    logits: F32
    pattern: F32 | None
    neurons: F32 | None
    is_edited: bool = False  # something else than heads and neurons may have written
    z: F32 | None = None  # [n_layers, n_heads * d_head], kept where it is asked for
    mlp_factors: F32 = field(default_factory=lambda: np.ones(0, np.float32))


# The logits [d_vocab] of the newest position with one component zeroed; none once the sequence has moved on.
AblateNewest = Callable[[Position, Component], F32 | None]


def normalised(x: F32) -> F32:
    """The network's only norm, along the last axis: x over its root mean square."""
    result: F32 = x / np.sqrt((x * x).mean(axis=-1, keepdims=True, dtype=np.float32) + np.float32(_NORM_EPSILON))
    return result


class FakeCaptured:
    """What one forward call left behind."""

    def __init__(self, weights: FakeWeights, positions: list[Position], ablate_newest: AblateNewest) -> None:
        self._weights = weights
        self._positions = positions
        self._ablate_newest = ablate_newest

    @property
    def n_positions(self) -> int:
        """New positions of this forward call."""
        return len(self._positions)

    def position(self, index: int) -> Position:
        """Everything of new position `index`, for questions about it."""
        return self._positions[index]

    @property
    def logits(self) -> F32:
        """[d_vocab] of the last position."""
        return self._positions[-1].logits

    def first_nonfinite_layer(self) -> int | None:
        """The first layer whose output holds NaN or infinity, over all new positions."""
        bad = [np.flatnonzero(~np.isfinite(p.residual[1:]).all(axis=1)) for p in self._positions]
        layers = [int(found[0]) for found in bad if found.size]
        if layers:
            return min(layers)
        finite = all(np.isfinite(p.logits).all() for p in self._positions)
        return None if finite else len(self._positions[0].mlp_out)

    def prediction(self, index: int, *, chosen_id: int, top_k: int) -> Prediction:
        """The prediction after new position `index`."""
        logprobs = _log_softmax(self._positions[index].logits)
        probs = np.exp(logprobs)
        top = np.argsort(-probs, kind="stable")[:top_k].astype(np.int32)
        return Prediction(
            top_ids=top,
            top_probs=probs[top],
            logprob=float(logprobs[chosen_id]),
            entropy=float(-(probs * logprobs).sum()),
        )

    def divergence(self, index: int, other: Captured) -> float:
        """See `Captured.divergence`."""
        if not isinstance(other, FakeCaptured):
            raise TypeError("both must have been computed by one engine")
        own, clean = (_log_softmax(each.position(index).logits.astype(np.float64)) for each in (self, other))
        return max(0.0, float((np.exp(own) * (own - clean)).sum()))

    def arrays(self, index: int, *, channels: frozenset[Channel], chosen_id: int, pair: LogitPair) -> StepArrays:
        """The channels of new position `index`."""
        p = self._positions[index]
        residual = "residual" in channels
        return StepArrays(
            neurons=p.neurons if "neurons" in channels else None,
            heads=_norm(p.head_out) if "heads" in channels else None,
            attention=p.pattern if "attention" in channels else None,
            residual=_norm(p.residual) if residual else None,
            attn_out=_norm(p.attn_out) if residual else None,
            mlp_out=_norm(p.mlp_out) if residual else None,
            lens=self._lens_rows(p, chosen_id) if "logit_lens" in channels else None,
            direct=self._direct(p, chosen_id, pair) if "direct_logit" in channels else None,
        )

    def measured_effects(self, components: Sequence[Component], *, target_id: int, distractor_id: int | None) -> F32:
        """See `Captured.measured_effects`."""

        def metric(logits: F32) -> float:
            away = logits.mean() if distractor_id is None else logits[distractor_id]
            return float(logits[target_id] - away)

        newest = self._positions[-1]
        effects = np.zeros(len(components), np.float32)
        for number, component in enumerate(components):
            logits = self._ablate_newest(newest, component)
            if logits is None:
                raise EngineError("the run has moved on: only its newest token can be measured as it is made")
            effects[number] = metric(newest.logits) - metric(logits)
        return effects

    def lens(self, index: int, *, chosen_id: int) -> Future[LensRows]:
        """See `Captured`."""
        done: Future[LensRows] = Future()
        done.set_result(self._lens_rows(self._positions[index], chosen_id))
        return done

    def _lens_rows(self, p: Position, chosen_id: int) -> LensRows:
        logprobs = _log_softmax(normalised(p.residual[1:]) @ self._weights.W_U.T)
        top = logprobs.argmax(axis=1)
        chosen = logprobs[:, chosen_id]
        return LensRows(
            token_id=top.astype(np.int32),
            prob=np.exp(logprobs[np.arange(len(top)), top]),
            entropy=-(np.exp(logprobs) * logprobs).sum(axis=1),
            rank=(logprobs > chosen[:, None]).sum(axis=1).astype(np.int32),
            logprob=chosen,
        )

    def _direct(self, p: Position, chosen_id: int, pair: LogitPair) -> DirectLogit:
        weights = self._weights
        target = chosen_id if pair.target_id is None else pair.target_id
        against = weights.W_U.mean(axis=0) if pair.distractor_id is None else weights.W_U[pair.distractor_id]
        scale = np.sqrt((p.residual[-1] ** 2).mean() + np.float32(_NORM_EPSILON))
        direction = (weights.W_U[target] - against) / scale
        assert p.neurons is not None
        by_neuron = np.stack(
            [weights.w_out(layer) @ (direction * weights.out_signs[layer]) for layer in range(len(p.neurons))]
        )
        by_neuron *= p.neurons * p.mlp_factors[:, None]
        k = min(pair.n_neurons or _STRONGEST_NEURONS, by_neuron.size)
        flat = np.argpartition(-np.abs(by_neuron), k - 1, axis=None)[:k]
        flat = flat[np.argsort(-np.abs(by_neuron.reshape(-1)[flat]), kind="stable")]
        layer, index = np.unravel_index(flat, by_neuron.shape)
        return DirectLogit(
            target_id=target,
            distractor_id=pair.distractor_id,
            heads=p.head_out @ direction,
            mlps=p.mlp_out @ direction,
            attn_bias=_other_writes(p) @ direction,
            embed=float(p.residual[0] @ direction),
            final_bias=0.0,
            total=float(p.residual[-1] @ direction),
            neuron_layer=layer.astype(np.int32),
            neuron_index=index.astype(np.int32),
            neuron_value=by_neuron[layer, index],
        )


def _other_writes(p: Position) -> F32:
    """[n_layers, d_model]: what interventions wrote that no head and no MLP did."""
    if not p.is_edited:
        return np.zeros_like(p.mlp_out)
    written: F32 = p.residual[1:] - p.residual[:-1] - p.mlp_out - p.head_out.sum(axis=1)
    return written


def _norm(values: F32) -> F32:
    result: F32 = np.sqrt((values * values).sum(axis=-1))
    return result


def _log_softmax(logits: _Floats) -> _Floats:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: _Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result
