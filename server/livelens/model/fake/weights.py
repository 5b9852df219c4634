"""The fake network's weights: random, with a grammar in its first dimensions, loud neurons and habits of heads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from livelens.model.engine import F32
from livelens.model.fake.words import Vocabulary

D_HEAD: Final = 4
RANDOM_DIMS: Final = 20  # the last dimensions of the residual stream; those before them hold the grammar
_WINDOW_STEP: Final = 64
_EMBED_GAIN, _HEAD_GAIN, _MLP_GAIN, _UNEMBED_GAIN = 5.0, 0.25, 0.3, 1.1
_GRAMMAR_NOISE: Final = 0.3


@dataclass(frozen=True, slots=True)
class FakeWeights:
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


def make_weights(n_layers: int, n_heads: int, d_mlp: int, d_model: int, vocabulary: Vocabulary) -> FakeWeights:
    """The weights of this shape; the same shape gives the same weights. d_model: categories + RANDOM_DIMS."""
    rng = np.random.default_rng(20_251)

    def normal(*shape: int, gain: float = 1.0) -> F32:
        values: F32 = rng.standard_normal(shape, dtype=np.float32)
        values *= np.float32(gain)
        return values

    n_categories = d_model - RANDOM_DIMS
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
    return FakeWeights(
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
