"""A small deterministic engine in numpy: most tests and the page's demos run on it, without torch.

It is a real, if random, transformer: heads with a KV cache, gated by nothing but its own residual
stream, an MLP, a final norm and an unembedding. Everything it reports is what it computed, and
interventions multiply into the computation, so an ablation changes the text. Its words follow a
tiny grammar that lives in the first dimensions of the residual stream, so that output reads like
sentences; a few neurons are loud and a few heads have a habit (previous token, first token,
induction), so that pictures look like those of a trained model.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from livelens.model.engine import F32, DirectLogit, EngineError, LensRows, LogitPair, Prediction, StepArrays
from livelens.model.fake_words import Vocabulary, build_vocabulary
from livelens.model.interventions import InterventionMasks
from livelens.protocol.messages import CHANNELS, Capabilities, Channel, ModelInfo

_NAME = re.compile(
    r"fake(?::(?P<layers>\d{1,4})x(?P<heads>\d{1,4})x(?P<mlp>\d{1,6}))?(?:@(?P<pace>\d{1,4}(?:\.\d+)?))?", re.ASCII
)
D_HEAD = 4
_RANDOM_DIMS = 20
_NORM_EPSILON = 1e-6
_STRONGEST_NEURONS = 32
_WINDOW_STEP = 64
_EMBED_GAIN, _POSITION_GAIN, _HEAD_GAIN, _MLP_GAIN, _UNEMBED_GAIN = 5.0, 0.5, 0.25, 0.3, 1.1
_GRAMMAR_NOISE = 0.3


def is_fake(name: str) -> bool:
    """Whether `name` asks for this engine."""
    return name == "fake" or name.startswith(("fake:", "fake@"))


def fake_engine(name: str = "fake") -> FakeEngine:
    """The engine that `name` describes: `fake`, `fake:80x64x28672` (layers x heads x d_mlp), `fake@20`.

    `@20` holds it to 20 tokens a second, so that a person can watch. Raises EngineError for other names.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise EngineError(f"{name!r} is no fake model: write fake, fake:LAYERSxHEADSxNEURONS or fake@TOKENS_PER_SECOND")
    pace = float(match["pace"]) if match["pace"] else 0.0
    if match["layers"] is None:
        return FakeEngine(tokens_per_second=pace)
    n_layers, n_heads, d_mlp = int(match["layers"]), int(match["heads"]), int(match["mlp"])
    if min(n_layers, n_heads, d_mlp) < 1 or n_layers * d_mlp > 16_000_000 or n_layers * n_heads > 65_536:
        raise EngineError(f"{name!r}: at least 1x1x1, at most 16 million neurons and 65,536 heads")
    return FakeEngine(n_layers=n_layers, n_heads=n_heads, d_mlp=d_mlp, tokens_per_second=pace)


class FakeEngine:
    """An Engine (see `engine.py`) of any shape; the same arguments give the same network."""

    def __init__(
        self,
        *,
        n_layers: int = 30,
        n_heads: int = 9,
        d_mlp: int = 1536,
        n_ctx: int = 2048,
        tokens_per_second: float = 0.0,
        channels: Sequence[Channel] = CHANNELS,
    ) -> None:
        self.vocabulary: Vocabulary = build_vocabulary()
        n_categories = self.vocabulary.category_of.max() + 1
        self.d_model = int(n_categories) + _RANDOM_DIMS
        self.secs_per_token = 1 / tokens_per_second if tokens_per_second else 0.0
        self.weights = _make_weights(n_layers, n_heads, d_mlp, self.d_model, self.vocabulary)
        shape = f"{n_layers}x{n_heads}x{d_mlp}"
        self._info = ModelInfo(
            model_name=f"fake:{shape}",
            architecture="FakeForCausalLM",
            n_layers=n_layers,
            n_heads=n_heads,
            n_key_value_heads=n_heads,
            d_model=self.d_model,
            d_head=D_HEAD,
            d_mlp=d_mlp,
            d_vocab=len(self.vocabulary.pieces),
            n_ctx=n_ctx,
            dtype="float32",
            weights_sha256=hashlib.sha256(f"livelens fake {shape}".encode()).hexdigest(),
            capabilities=Capabilities(
                channels=list(channels),
                operations=["zero", "scale"],
                component_kinds=["head", "neuron", "attn", "mlp"],
                has_chat_template=True,
            ),
        )

    @property
    def info(self) -> ModelInfo:
        """Shape, identity and capabilities."""
        return self._info

    @property
    def eos_ids(self) -> frozenset[int]:
        """The one token that ends a text."""
        return frozenset({self.vocabulary.eos_id})

    def tokenize(self, text: str, *, apply_chat_template: bool) -> list[int]:
        """Token ids of a prompt; the template of this model is `user: TEXT reply:`."""
        return self.vocabulary.encode(f"user: {text} reply:" if apply_chat_template else text)

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a bare piece of text."""
        return self.vocabulary.encode(text)

    def token_text(self, token_id: int) -> str:
        """One token alone; a lone byte of a longer character shows as U+FFFD."""
        return self.vocabulary.pieces[token_id].decode("utf-8", "replace")

    def text_stream(self, prompt_ids: Sequence[int]) -> FakeTextStream:
        """Text of the tokens that follow."""
        return FakeTextStream(self.vocabulary)

    def open_sequence(self) -> FakeSequence:
        """A new, empty sequence."""
        return FakeSequence(self)

    def estimate_bytes(self, n_positions: int, channels: frozenset[Channel]) -> int:
        """Cache and captures of `n_positions`."""
        info = self._info
        per_position = 2 * info.n_layers * info.n_heads * D_HEAD
        if channels & {"neurons", "direct_logit"}:
            per_position += info.n_layers * info.d_mlp
        if "attention" in channels:
            per_position += info.n_layers * info.n_heads * n_positions // 2
        return 4 * n_positions * per_position

    def hooks_left(self) -> int:
        """This engine multiplies its masks in place and has no hooks."""
        return 0

    def close(self) -> None:
        """Nothing to let go of."""


class FakeTextStream:
    """Holds back the bytes of an unfinished character."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._decoder = vocabulary.new_decoder()

    def push(self, token_id: int) -> str:
        """The text that this token completes."""
        if token_id == self._vocabulary.eos_id:
            return ""
        return self._decoder.decode(self._vocabulary.pieces[token_id])

    def flush(self) -> str:
        """What is left, with U+FFFD for an unfinished character."""
        return self._decoder.decode(b"", final=True)


@dataclass(frozen=True, slots=True)
class _Weights:
    """W_QKV [n_layers, 3*n_heads*d_head, d_model], W_O [n_layers, n_heads, d_head, d_model], W_E and W_U
    [d_vocab, d_model]. W_in and W_out are windows of one matrix each, so 2.3 million neurons take 8 MB;
    signs [n_layers, d_model] make each layer's another.
    """

    W_QKV: F32
    W_O: F32
    W_E: F32
    W_U: F32
    in_signs: F32
    out_signs: F32
    in_windows: F32
    out_windows: F32
    head_habits: NDArray[np.intp]
    d_mlp: int

    def w_in(self, layer: int) -> F32:
        """[d_mlp, d_model] of one layer."""
        start = layer * _WINDOW_STEP
        return self.in_windows[start : start + self.d_mlp]

    def w_out(self, layer: int) -> F32:
        """[d_mlp, d_model] of one layer."""
        start = layer * _WINDOW_STEP
        return self.out_windows[start : start + self.d_mlp]


def _make_weights(n_layers: int, n_heads: int, d_mlp: int, d_model: int, vocabulary: Vocabulary) -> _Weights:
    rng = np.random.default_rng(20_251)

    def normal(*shape: int, gain: float = 1.0) -> F32:
        values: F32 = rng.standard_normal(shape, dtype=np.float32)
        values *= np.float32(gain)
        return values

    n_categories = d_model - _RANDOM_DIMS
    d_vocab = len(vocabulary.pieces)
    w_e = normal(d_vocab, d_model)
    w_e[:, :n_categories] = _EMBED_GAIN * np.eye(n_categories, dtype=np.float32)[vocabulary.category_of]
    w_u = normal(d_vocab, d_model, gain=_UNEMBED_GAIN)
    # A word is likely after the categories that may come before it: the grammar, as a direct path.
    w_u[:, :n_categories] = vocabulary.follows[:, vocabulary.category_of].T
    w_u[vocabulary.unsaid] = 0
    w_u[vocabulary.unsaid, :n_categories] = -1
    rows = d_mlp + n_layers * _WINDOW_STEP
    loudness = np.exp(0.6 * rng.standard_normal((rows, 1), dtype=np.float32)) * np.float32(0.5)
    signs: F32 = rng.choice(np.array([-1, 1], np.float32), size=(2, n_layers, d_model))
    quiet_grammar = np.where(np.arange(d_model) < n_categories, np.float32(_GRAMMAR_NOISE), np.float32(1))
    return _Weights(
        W_QKV=normal(n_layers, 3 * n_heads * D_HEAD, d_model, gain=d_model**-0.5),
        W_O=normal(n_layers, n_heads, D_HEAD, d_model, gain=_HEAD_GAIN / n_heads**0.5) * quiet_grammar,
        W_E=w_e,
        W_U=w_u,
        in_signs=signs[0],
        out_signs=signs[1] * quiet_grammar,
        in_windows=normal(rows, d_model, gain=d_model**-0.5) * loudness,
        out_windows=normal(rows, d_model, gain=_MLP_GAIN / d_mlp**0.5),
        head_habits=rng.choice(4, size=(n_layers, n_heads), p=[0.5, 0.2, 0.2, 0.1]),
        d_mlp=d_mlp,
    )


@dataclass(slots=True)
class _Position:
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
    mlp_factors: F32 = field(default_factory=lambda: np.ones(0, np.float32))


def _normalised(x: F32) -> F32:
    result: F32 = x / np.sqrt((x * x).mean(axis=-1, keepdims=True, dtype=np.float32) + np.float32(_NORM_EPSILON))
    return result


class FakeSequence:
    """One run's KV cache: keys and values [n_layers, n_heads, room, d_head]."""

    def __init__(self, engine: FakeEngine) -> None:
        self._engine = engine
        self._tokens: list[int] = []
        info = engine.info
        self._cache = np.zeros((2, info.n_layers, info.n_heads, 64, D_HEAD), np.float32)

    @property
    def n_positions(self) -> int:
        """Positions computed so far."""
        return len(self._tokens)

    def forward(
        self, token_ids: Sequence[int], *, masks: InterventionMasks | None, channels: frozenset[Channel]
    ) -> FakeCaptured:
        """Append `token_ids` under `masks`; positions one by one, so chunks give the same bits."""
        info = self._engine.info
        if not token_ids:
            raise EngineError("forward needs at least one token")
        if self.n_positions + len(token_ids) > info.n_ctx:
            raise EngineError(f"the context is full: this model takes {info.n_ctx} tokens")
        if any(not 0 <= token_id < info.d_vocab for token_id in token_ids):
            raise EngineError(f"token ids of this model are 0 to {info.d_vocab - 1}")
        if self._engine.secs_per_token and len(token_ids) == 1:
            time.sleep(self._engine.secs_per_token)
        self._grow(self.n_positions + len(token_ids))
        return FakeCaptured(
            self._engine, [self._one(token_id, masks or InterventionMasks(), channels) for token_id in token_ids]
        )

    def truncate(self, n_positions: int) -> None:
        """Forget every position from `n_positions` on."""
        del self._tokens[n_positions:]

    def close(self) -> None:
        """Free the cache."""
        self._cache = np.zeros((2, 0, 0, 0, D_HEAD), np.float32)
        self._tokens = []

    def _grow(self, n_positions: int) -> None:
        room = self._cache.shape[3]
        if n_positions > room:
            padding = max(room, n_positions - room)
            self._cache = np.pad(self._cache, ((0, 0), (0, 0), (0, 0), (0, padding), (0, 0)))

    def _one(self, token_id: int, masks: InterventionMasks, channels: frozenset[Channel]) -> _Position:
        engine, weights, info = self._engine, self._engine.weights, self._engine.info
        self._tokens.append(token_id)
        pos = len(self._tokens) - 1
        n_layers, n_heads = info.n_layers, info.n_heads
        keep_neurons = bool(channels & {"neurons", "direct_logit"})
        out = _Position(
            token_id=token_id,
            head_out=np.empty((n_layers, n_heads, engine.d_model), np.float32),
            attn_out=np.empty((n_layers, engine.d_model), np.float32),
            mlp_out=np.empty((n_layers, engine.d_model), np.float32),
            residual=np.empty((n_layers + 1, engine.d_model), np.float32),
            logits=np.empty(0, np.float32),
            pattern=np.empty((n_layers, n_heads, pos + 1), np.float32) if "attention" in channels else None,
            neurons=np.empty((n_layers, info.d_mlp), np.float32) if keep_neurons else None,
            mlp_factors=_factors(masks.mlp, n_layers),
        )
        bias = _habit_bias(self._tokens)
        x = weights.W_E[token_id] + _position_code(pos, engine.d_model)
        out.residual[0] = x
        with np.errstate(over="ignore", invalid="ignore"):  # an overflowing intervention is reported, not warned of
            for layer in range(n_layers):
                x = x + self._attention(layer, pos, x, bias, masks, out)
                x = x + self._mlp(layer, x, masks, out)
                out.residual[layer + 1] = x
            out.logits = weights.W_U @ _normalised(x)
        return out

    def _attention(self, layer: int, pos: int, x: F32, bias: F32, masks: InterventionMasks, out: _Position) -> F32:
        weights, n_heads = self._engine.weights, self._engine.info.n_heads
        q, k, v = (weights.W_QKV[layer] @ _normalised(x)).reshape(3, n_heads, D_HEAD)
        keys, values = self._cache[:, layer]
        keys[:, pos], values[:, pos] = k, v
        scores = (keys[:, : pos + 1] @ q[:, :, None])[:, :, 0] + bias[weights.head_habits[layer]]
        pattern = np.exp(scores - scores.max(axis=-1, keepdims=True))
        pattern /= pattern.sum(axis=-1, keepdims=True)
        if out.pattern is not None:
            out.pattern[layer] = pattern
        z = pattern[:, None, :] @ values[:, : pos + 1]
        if layer in masks.heads:
            z = z * masks.heads[layer][:, None, None]
        out.head_out[layer] = (z @ weights.W_O[layer])[:, 0]
        out.head_out[layer] *= np.float32(masks.attn.get(layer, 1.0))
        written: F32 = out.head_out[layer].sum(axis=0)
        out.attn_out[layer] = written
        return written

    def _mlp(self, layer: int, x: F32, masks: InterventionMasks, out: _Position) -> F32:
        weights = self._engine.weights
        neurons = weights.w_in(layer) @ (_normalised(x) * weights.in_signs[layer])
        neurons *= np.maximum(neurons, np.float32(-0.3))
        if layer in masks.neurons:
            neurons *= masks.neurons[layer]
        if out.neurons is not None:
            out.neurons[layer] = neurons
        written: F32 = (neurons @ weights.w_out(layer)) * (weights.out_signs[layer] * out.mlp_factors[layer])
        out.mlp_out[layer] = written
        return written


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
    code[-_RANDOM_DIMS:] = _POSITION_GAIN * 3 * np.sin(0.7 * pos * np.arange(1, _RANDOM_DIMS + 1) ** 0.5)
    return code


class FakeCaptured:
    """What one forward call left behind."""

    def __init__(self, engine: FakeEngine, positions: list[_Position]) -> None:
        self._engine = engine
        self._positions = positions

    @property
    def n_positions(self) -> int:
        """New positions of this forward call."""
        return len(self._positions)

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
        return None if finite else self._engine.info.n_layers

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
            lens=self._lens(p, chosen_id) if "logit_lens" in channels else None,
            direct=self._direct(p, chosen_id, pair) if "direct_logit" in channels else None,
        )

    def _lens(self, p: _Position, chosen_id: int) -> LensRows:
        logprobs = _log_softmax(_normalised(p.residual[1:]) @ self._engine.weights.W_U.T)
        top = logprobs.argmax(axis=1)
        chosen = logprobs[:, chosen_id]
        return LensRows(
            token_id=top.astype(np.int32),
            prob=np.exp(logprobs[np.arange(len(top)), top]),
            entropy=-(np.exp(logprobs) * logprobs).sum(axis=1),
            rank=(logprobs > chosen[:, None]).sum(axis=1).astype(np.int32),
            logprob=chosen,
        )

    def _direct(self, p: _Position, chosen_id: int, pair: LogitPair) -> DirectLogit:
        weights = self._engine.weights
        target = chosen_id if pair.target_id is None else pair.target_id
        against = weights.W_U.mean(axis=0) if pair.distractor_id is None else weights.W_U[pair.distractor_id]
        scale = np.sqrt((p.residual[-1] ** 2).mean() + np.float32(_NORM_EPSILON))
        direction = (weights.W_U[target] - against) / scale
        assert p.neurons is not None
        by_neuron = np.stack(
            [weights.w_out(layer) @ (direction * weights.out_signs[layer]) for layer in range(len(p.neurons))]
        )
        by_neuron *= p.neurons * p.mlp_factors[:, None]
        k = min(_STRONGEST_NEURONS, by_neuron.size)
        flat = np.argpartition(-np.abs(by_neuron), k - 1, axis=None)[:k]
        flat = flat[np.argsort(-np.abs(by_neuron.reshape(-1)[flat]), kind="stable")]
        layer, index = np.unravel_index(flat, by_neuron.shape)
        return DirectLogit(
            target_id=target,
            distractor_id=pair.distractor_id,
            heads=p.head_out @ direction,
            mlps=p.mlp_out @ direction,
            attn_bias=np.zeros(len(p.mlp_out), np.float32),
            embed=float(p.residual[0] @ direction),
            final_bias=0.0,
            total=float(p.residual[-1] @ direction),
            neuron_layer=layer.astype(np.int32),
            neuron_index=index.astype(np.int32),
            neuron_value=by_neuron[layer, index],
        )


def _norm(values: F32) -> F32:
    result: F32 = np.sqrt((values * values).sum(axis=-1))
    return result


def _log_softmax(logits: F32) -> F32:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: F32 = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def _factors(by_layer: dict[int, float], n_layers: int) -> F32:
    with np.errstate(over="ignore"):  # beyond float32 is infinity, and the run says so
        return np.array([by_layer.get(layer, 1.0) for layer in range(n_layers)]).astype(np.float32)
