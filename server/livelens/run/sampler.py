"""Choosing the next token: greedy, temperature, top-k, top-p, with a generator of each run's own."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from livelens.protocol.messages import Sampling


class Sampler:
    """Same settings, seed and logits: same tokens, whatever other runs do meanwhile."""

    def __init__(self, sampling: Sampling) -> None:
        self._sampling = sampling
        self._generator = np.random.Generator(np.random.PCG64(sampling.seed))

    def skip(self, n_tokens: int) -> None:
        """Leave out as many draws as `n_tokens` chosen tokens would have taken."""
        if self._sampling.temperature:
            self._generator.random(n_tokens)

    def restart(self) -> None:
        """Begin again with the same seed."""
        self._generator = np.random.Generator(np.random.PCG64(self._sampling.seed))

    def choose(self, logits: NDArray[np.float32]) -> int:
        """The next token id, from finite logits [d_vocab]. Temperature 0 is argmax, lowest id first.

        One number is drawn per token, so that a replayed log stays in step.
        """
        settings = self._sampling
        if settings.temperature == 0:
            return int(logits.argmax())
        ids, probs = candidates(logits, settings)
        cumulative = np.cumsum(probs)
        drawn = self._generator.random() * cumulative[-1]
        return int(ids[min(int(np.searchsorted(cumulative, drawn, side="right")), len(ids) - 1)])


def candidates(logits: NDArray[np.float32], sampling: Sampling) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Token ids that top-k and top-p leave, likeliest first (ties: lowest id first), and their probabilities."""
    shifted = logits.astype(np.float64) - float(logits.max())
    order = np.argsort(-logits, kind="stable")
    if sampling.top_k:
        order = order[: sampling.top_k]
    with np.errstate(over="ignore"):  # a tiny temperature sends all but the best to -inf, which is right
        probs = np.exp(shifted[order] / sampling.temperature)
    probs /= probs.sum()
    if sampling.top_p < 1:
        # The smallest set that reaches top_p: a token stays while what comes before it does not.
        kept = int(np.count_nonzero(np.cumsum(probs) - probs < sampling.top_p))
        order, probs = order[:kept], probs[:kept] / probs[:kept].sum()
    return order, probs
