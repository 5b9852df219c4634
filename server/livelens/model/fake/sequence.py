"""One run of the fake network: its KV cache and its forward pass, position by position."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from livelens.model.engine import F32, EngineError, TokenSequence
from livelens.model.fake.captured import FakeCaptured, Position, normalised
from livelens.model.fake.edits import PositionEdits
from livelens.model.fake.twin import FakeTwin
from livelens.model.fake.weights import D_HEAD, RANDOM_DIMS, FakeWeights
from livelens.model.interventions import SITES, InterventionMasks, width_of
from livelens.model.operations import EVERYWHERE, Operation, Place, Scaled, Span
from livelens.protocol.messages import Channel, Component, ModelInfo

_POSITION_GAIN: Final = 0.5


class FakeSequence:
    """One run's KV cache: keys and values [n_layers, n_heads, room, d_head]."""

    def __init__(self, info: ModelInfo, weights: FakeWeights, *, secs_per_token: float) -> None:
        self._info = info
        self._weights = weights
        self._secs_per_token = secs_per_token
        self._tokens: list[int] = []
        self._n_changes = 0  # forward calls and truncations: what was captured before is not the newest any more
        self._cache = np.zeros((2, info.n_layers, info.n_heads, 64, D_HEAD), np.float32)

    @property
    def n_positions(self) -> int:
        """Positions computed so far."""
        return len(self._tokens)

    def forward(
        self, token_ids: Sequence[int], *, masks: InterventionMasks | None, channels: frozenset[Channel]
    ) -> FakeCaptured:
        """Append `token_ids` under `masks`; positions one by one, so chunks give the same bits."""
        info = self._info
        if not token_ids:
            raise EngineError("forward needs at least one token")
        if self.n_positions + len(token_ids) > info.n_ctx:
            raise EngineError(f"the context is full: this model takes {info.n_ctx} tokens")
        if any(not 0 <= token_id < info.d_vocab for token_id in token_ids):
            raise EngineError(f"token ids of this model are 0 to {info.d_vocab - 1}")
        if self._secs_per_token and len(token_ids) == 1:
            time.sleep(self._secs_per_token)
        self._grow(self.n_positions + len(token_ids))
        positions = [self._one(token_id, masks or InterventionMasks(), channels) for token_id in token_ids]
        self._n_changes += 1
        ablate_newest = partial(self._ablate_newest, self._n_changes, masks or InterventionMasks())
        return FakeCaptured(self._weights, positions, ablate_newest)

    def values_at(
        self, token_ids: Sequence[int], masks: InterventionMasks, places: Sequence[Place]
    ) -> dict[Place, F32]:
        """Append `token_ids` under `masks`; what they computed at these sites, [n, width] each."""
        self._grow(self.n_positions + len(token_ids))
        found: dict[Place, list[F32]] = {place: [] for place in places}
        for token_id in token_ids:
            out = self._one(token_id, masks, frozenset(("neurons",)), keep_z=True)
            sites = {"z": out.z, "neurons": out.neurons, "attn_out": out.attn_out, "mlp_out": out.mlp_out}
            for (site, layer), rows in found.items():
                values = sites[site]
                if values is None:
                    raise ValueError(f"{site} is no site that values are taken from")
                rows.append(values[layer])
        return {place: np.stack(rows) for place, rows in found.items()}

    def truncate(self, n_positions: int) -> None:
        """Forget every position from `n_positions` on."""
        del self._tokens[n_positions:]
        self._n_changes += 1

    def branch(self, n_positions: int) -> FakeSequence:
        """A sequence of its own that begins with the first `n_positions` of this one."""
        if not 0 <= n_positions <= self.n_positions:
            raise ValueError(f"cannot branch off after {n_positions} of {self.n_positions} positions")
        other = FakeSequence(self._info, self._weights, secs_per_token=self._secs_per_token)
        if n_positions:
            other._tokens, other._cache = self._tokens[:n_positions], self._cache.copy()
        return other

    def paired(self, clean: TokenSequence) -> FakeTwin:
        """See `TokenSequence.paired`."""
        if not isinstance(clean, FakeSequence):
            raise TypeError("only sequences of one engine can be carried as one batch")
        return FakeTwin(self, clean)

    def close(self) -> None:
        """Free the cache."""
        self._cache = np.zeros((2, 0, 0, 0, D_HEAD), np.float32)
        self._tokens = []
        self._n_changes += 1

    def _grow(self, n_positions: int) -> None:
        room = self._cache.shape[3]
        if n_positions > room:
            padding = max(room, n_positions - room)
            self._cache = np.pad(self._cache, ((0, 0), (0, 0), (0, 0), (0, padding), (0, 0)))

    def _one(
        self, token_id: int, masks: InterventionMasks, channels: frozenset[Channel], *, keep_z: bool = False
    ) -> Position:
        weights, info = self._weights, self._info
        self._tokens.append(token_id)
        pos = len(self._tokens) - 1
        n_layers, n_heads = info.n_layers, info.n_heads
        keep_neurons = bool(channels & {"neurons", "direct_logit", "causal_effects"})
        out = Position(
            token_id=token_id,
            head_out=np.empty((n_layers, n_heads, info.d_model), np.float32),
            attn_out=np.empty((n_layers, info.d_model), np.float32),
            mlp_out=np.empty((n_layers, info.d_model), np.float32),
            residual=np.empty((n_layers + 1, info.d_model), np.float32),
            logits=np.empty(0, np.float32),
            pattern=np.empty((n_layers, n_heads, pos + 1), np.float32) if "attention" in channels else None,
            neurons=np.empty((n_layers, info.d_mlp), np.float32) if keep_neurons else None,
            z=np.empty((n_layers, n_heads * D_HEAD), np.float32) if keep_z else None,
            mlp_factors=_factors(masks.mlp, n_layers),
        )
        bias = _habit_bias(self._tokens)
        out.residual[0] = weights.W_E[token_id] + _position_code(pos, info.d_model)
        self._layers(0, pos, bias, masks, out)
        return out

    def _layers(self, first: int, pos: int, bias: F32, masks: InterventionMasks, out: Position) -> None:
        """The layers from `first` on, and the logits."""
        edits = PositionEdits(masks.operations_on(Span(pos, (out.token_id,))), pos)
        out.is_edited = bool(masks.operations)
        x = out.residual[first]
        if first == 0:
            x = out.residual[0] = edits.changed("resid", 0, x)
        with np.errstate(over="ignore", invalid="ignore"):  # an overflowing intervention is reported, not warned of
            for layer in range(first, self._info.n_layers):
                x = x + self._attention(layer, pos, x, bias, masks, edits, out)
                x = x + self._mlp(layer, x, masks, edits, out)
                x = out.residual[layer + 1] = edits.changed("resid", layer + 1, x)
            out.logits = self._weights.W_U @ normalised(x)

    def _ablate_newest(
        self, n_changes: int, masks: InterventionMasks, newest: Position, component: Component
    ) -> F32 | None:
        """See `AblateNewest`: again from the component's layer on, and the cache put back as it was."""
        if n_changes != self._n_changes:
            return None
        pos = len(self._tokens) - 1
        scratch = replace(
            newest,
            head_out=np.empty_like(newest.head_out),
            attn_out=np.empty_like(newest.attn_out),
            mlp_out=np.empty_like(newest.mlp_out),
            residual=newest.residual.copy(),
            pattern=None,
            neurons=None,
        )
        own = self._cache[:, :, :, pos].copy()
        zeroed = _zeroed(masks, component, self._info)
        scratch.mlp_factors = _factors(zeroed.mlp, self._info.n_layers)
        self._layers(component.layer, pos, _habit_bias(self._tokens), zeroed, scratch)
        self._cache[:, :, :, pos] = own
        return scratch.logits

    def _attention(
        self, layer: int, pos: int, x: F32, bias: F32, masks: InterventionMasks, edits: PositionEdits, out: Position
    ) -> F32:
        weights, n_heads = self._weights, self._info.n_heads
        q, k, v = (weights.W_QKV[layer] @ normalised(x)).reshape(3, n_heads, D_HEAD)
        keys, values = self._cache[:, layer]
        keys[:, pos], values[:, pos] = k, v
        scores = (keys[:, : pos + 1] @ q[:, :, None])[:, :, 0] + bias[weights.head_habits[layer]]
        pattern = np.exp(scores - scores.max(axis=-1, keepdims=True))
        pattern /= pattern.sum(axis=-1, keepdims=True)
        pattern = edits.changed("pattern", layer, pattern)
        if out.pattern is not None:
            out.pattern[layer] = pattern
        z = pattern[:, None, :] @ values[:, : pos + 1]
        if layer in masks.heads:
            z = z * masks.heads[layer][:, None, None]
        z = edits.changed("z", layer, z.reshape(-1)).reshape(z.shape)
        if out.z is not None:
            out.z[layer] = z.reshape(-1)
        out.head_out[layer] = (z @ weights.W_O[layer])[:, 0]
        out.head_out[layer] *= np.float32(masks.attn.get(layer, 1.0))
        written = out.head_out[layer].sum(axis=0)
        if edits.acts_at("w_o", layer):
            plain = (z @ weights.W_O[layer])[:, 0].sum(axis=0)
            written = edits.written("w_o", layer, plain, z.reshape(-1)) * np.float32(masks.attn.get(layer, 1.0))
        written = edits.changed("attn_out", layer, written)
        if edits.is_replaced("attn_out", layer):
            out.head_out[layer] = 0
        out.attn_out[layer] = written
        return written

    def _mlp(self, layer: int, x: F32, masks: InterventionMasks, edits: PositionEdits, out: Position) -> F32:
        weights = self._weights
        neurons = weights.w_in(layer) @ (normalised(x) * weights.in_signs[layer])
        neurons *= np.maximum(neurons, np.float32(-0.3))
        if layer in masks.neurons:
            neurons *= masks.neurons[layer]
        neurons = edits.changed("neurons", layer, neurons)
        if out.neurons is not None:
            out.neurons[layer] = neurons
        written: F32 = (neurons @ weights.w_out(layer)) * weights.out_signs[layer]
        written = edits.written("w_out", layer, written, neurons) * out.mlp_factors[layer]
        written = edits.changed("mlp_out", layer, written)
        if edits.is_replaced("mlp_out", layer):
            out.mlp_factors[layer] = 0
        out.mlp_out[layer] = written
        return written


def _zeroed(masks: InterventionMasks, component: Component, info: ModelInfo) -> InterventionMasks:
    """`masks`, and after all of them the component's output times zero."""
    place: Place = (SITES[component.kind], component.layer)
    size = {"head": D_HEAD, "neuron": 1}.get(component.kind, info.d_model)
    factors = np.ones(width_of(place, info), np.float32)
    factors[component.index * size : (component.index + 1) * size] = 0.0
    return replace(masks, operations=[*masks.operations, Operation(place, EVERYWHERE, Scaled(factors))])


def _habit_bias(tokens: list[int]) -> F32:
    """[4, n_keys]: what a head of each habit adds to its scores: none, previous, first, induction."""
    pos = len(tokens) - 1
    bias = np.zeros((4, pos + 1), np.float32)
    bias[1] = -2.0 * np.abs(np.arange(pos + 1) - max(pos - 1, 0))
    bias[2, 0] = 4.0
    ids = np.asarray(tokens)
    bias[3, 1:] = 5.0 * (ids[:-1] == ids[-1])
    return bias


def _position_code(pos: int, d_model: int) -> F32:
    code = np.zeros(d_model, np.float32)
    code[-RANDOM_DIMS:] = _POSITION_GAIN * 3 * np.sin(0.7 * pos * np.arange(1, RANDOM_DIMS + 1) ** 0.5)
    return code


def _factors(by_layer: dict[int, float], n_layers: int) -> F32:
    with np.errstate(over="ignore"):  # beyond float32 is infinity, and the run says so
        return np.array([by_layer.get(layer, 1.0) for layer in range(n_layers)]).astype(np.float32)
