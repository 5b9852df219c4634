"""The seam between the network and everything above it; nothing above `model/` knows which engine runs.

All arrays here are numpy, float32, of the new positions only. An engine is used by one thread (the
model thread); its `info` may be read from any.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as SequenceOf
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from livelens.model.interventions import InterventionMasks
from livelens.model.operations import Place
from livelens.protocol.messages import Answer, Channel, Component, ModelInfo, Question

F32 = NDArray[np.float32]
I32 = NDArray[np.int32]


class EngineError(RuntimeError):
    """The engine could not do what was asked; the text says why and what to do."""


class AnalysisRefusedError(ValueError):
    """A question that cannot be asked of this run; `code` is stable, the text says the limit and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextSegment:
    """The masks, none where they change nothing, from position `from_pos` until the next segment's.

    `revision` names them within the run: equal revisions, equal masks.
    """

    from_pos: int
    revision: int
    masks: InterventionMasks | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AnalysisContext:
    """A run as it was when a question about it was asked; nothing in it changes any more.

    token_ids: prompt and generated tokens; the first `n_positions` of them were computed, under `segments`
    (ascending by from_pos, the first from 0).
    """

    token_ids: tuple[int, ...]
    n_prompt: int
    n_positions: int
    segments: tuple[ContextSegment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitPair:
    """What direct_logit explains: `logit(target) - logit(distractor)`.

    `target_id` none: the chosen token. `distractor_id` none: the mean of all logits. `n_neurons`: how many of
    the strongest neurons are told; none: as many as the engine finds worth telling at every token.
    """

    target_id: int | None = None
    distractor_id: int | None = None
    n_neurons: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LensRows:
    """Each layer's resid_post through the final norm and unembedding. All [n_layers]."""

    token_id: I32
    prob: F32
    entropy: F32
    rank: I32
    logprob: F32


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectLogit:
    """Direct contributions to the metric, in logits before any soft cap; they sum to `total`.

    heads [n_layers, n_heads], mlps [n_layers], attn_bias [n_layers]; embed, final_bias, total scalars;
    neuron_layer, neuron_index, neuron_value [k]: the strongest neurons, largest magnitude first.
    """

    target_id: int
    distractor_id: int | None
    heads: F32
    mlps: F32
    attn_bias: F32
    embed: float
    final_bias: float
    total: float
    neuron_layer: I32
    neuron_index: I32
    neuron_value: F32


@dataclass(frozen=True, slots=True, kw_only=True)
class CausalEffects:
    """The heads and MLPs with the strongest direct contributions at one position, strongest first, and the proof.

    attributed: direct contribution of each; measured: the metric minus what it is when that one alone is zeroed
    at this position. Both float32 [n_components], in logits before any soft cap.
    """

    target_id: int
    distractor_id: int | None
    components: tuple[Component, ...]
    attributed: F32
    measured: F32


@dataclass(frozen=True, slots=True, kw_only=True)
class StepArrays:
    """What one position did, exact; fields are none where the channel was not asked for or not possible.

    neurons [n_layers, d_mlp]; heads [n_layers, n_heads] (norms); attention [n_layers, n_heads, pos+1];
    residual [n_layers+1], attn_out [n_layers], mlp_out [n_layers] (norms). difference: these and the direct terms
    minus the clean twin's, by tensor name.
    """

    neurons: F32 | None = None
    heads: F32 | None = None
    attention: F32 | None = None
    residual: F32 | None = None
    attn_out: F32 | None = None
    mlp_out: F32 | None = None
    lens: LensRows | None = None
    direct: DirectLogit | None = None
    causal: CausalEffects | None = None
    difference: dict[str, F32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What the model predicts after one position, and how it scored the token in fact chosen."""

    top_ids: I32
    top_probs: F32
    logprob: float
    entropy: float


class Captured(Protocol):
    """What one forward call left behind: its new positions, read out one at a time, in any order.

    Holds the captured tensors alive; drop it when every wanted position was read.
    """

    @property
    def n_positions(self) -> int:
        """New positions of this forward call."""

    @property
    def logits(self) -> F32:
        """[d_vocab] of the last position, as the sampler sees them (after any soft cap)."""

    def first_nonfinite_layer(self) -> int | None:
        """The first layer whose output holds NaN or infinity; none when all is finite.

        n_layers where only the logits do.
        """

    def prediction(self, index: int, *, chosen_id: int, top_k: int) -> Prediction:
        """The prediction after new position `index` (0 is the first new one)."""

    def divergence(self, index: int, other: Captured) -> float:
        """KL(this || other) of what is predicted after new position `index` of both, at temperature 1, nats.

        other: of the same engine, and of the same forward call or one over as many positions.
        """

    def arrays(self, index: int, *, channels: frozenset[Channel], chosen_id: int, pair: LogitPair) -> StepArrays:
        """The channels of new position `index`; they must be among those the forward call captured.

        logit_lens costs as much as a decode step, and this waits for it: `lens` does not. causal_effects is not
        among what this returns: see `measured_effects`.
        """

    def measured_effects(self, components: SequenceOf[Component], *, target_id: int, distractor_id: int | None) -> F32:
        """The metric minus what it is when one component alone is zeroed at the last new position, [n_components].

        In logits before any soft cap; `distractor_id` none: the mean of all logits. Only until the sequence's next
        forward call; the sequence stays as it is, bit for bit. Raises EngineError after that, or where memory
        runs out.
        """

    def lens(self, index: int, *, chosen_id: int) -> Future[LensRows]:
        """The logit lens of new position `index`, every layer; may be computed beside later forward calls."""


class TokenSequence(Protocol):
    """One run's KV cache. One forward at a time; hooks live only inside `forward`."""

    @property
    def n_positions(self) -> int:
        """Positions computed so far."""

    def forward(
        self, token_ids: SequenceOf[int], *, masks: InterventionMasks | None, channels: frozenset[Channel]
    ) -> Captured:
        """Append `token_ids` under `masks`, capturing what `channels` need.

        Raises EngineError when the context is full or memory runs out; the sequence is then as before.
        """

    def truncate(self, n_positions: int) -> None:
        """Forget every position from `n_positions` on."""

    def branch(self, n_positions: int) -> TokenSequence:
        """A sequence of its own that begins with the first `n_positions` of this one, which stays as it is.

        What both have in common is held once. Raises ValueError for positions that this one does not have.
        """

    def paired(self, clean: TokenSequence) -> TwinSequence:
        """This sequence and `clean`, of as many positions, as two rows of one batch; neither is of use alone then.

        What both hold in common is not copied. Raises ValueError for a sequence of another length.
        """

    def close(self) -> None:
        """Free the cache; harmless when closed."""


class TwinSequence(Protocol):
    """A run's KV cache and its clean twin's, extended by one forward call: a patched row and a clean one."""

    @property
    def n_positions(self) -> int:
        """Positions computed so far, in both rows."""

    def forward(
        self,
        token_ids: SequenceOf[int],
        clean_ids: SequenceOf[int],
        *,
        masks: InterventionMasks | None,
        channels: frozenset[Channel],
    ) -> tuple[Captured, Captured]:
        """Append `token_ids` to the patched row under `masks` and as many `clean_ids` to the clean one under none.

        Raises EngineError when the context is full or memory runs out; both rows are then as before.
        """

    def truncate(self, n_positions: int) -> None:
        """Forget every position from `n_positions` on, in both rows."""

    def branch(self, n_positions: int) -> TokenSequence:
        """A sequence of its own that begins with the first `n_positions` of the patched row."""

    def patched(self) -> TokenSequence:
        """The patched row alone, as it is; the clean one is let go of, and this is of no use any more."""

    def close(self) -> None:
        """Free the cache; harmless when closed."""


class TextStream(Protocol):
    """Turns token ids into text that never breaks a character made of several tokens."""

    def push(self, token_id: int) -> str:
        """The text that this token completes; empty inside a character."""

    def flush(self) -> str:
        """What is left, with U+FFFD for an unfinished character."""


class Engine(Protocol):
    """A network that can be watched."""

    @property
    def info(self) -> ModelInfo:
        """Shape, identity and capabilities."""

    @property
    def eos_ids(self) -> frozenset[int]:
        """Tokens that end a text."""

    def tokenize(self, text: str, *, apply_chat_template: bool) -> list[int]:
        """Token ids of a prompt, with the special tokens the model expects.

        Raises EngineError when there is no chat template or it fails.
        """

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a bare piece of text, no special tokens: for target and distractor."""

    def token_text(self, token_id: int) -> str:
        """One token alone, for a label."""

    def text_stream(self, prompt_ids: SequenceOf[int]) -> TextStream:
        """A stream that continues after `prompt_ids`."""

    def open_sequence(self) -> TokenSequence:
        """A new, empty sequence."""

    def analyse(self, question: Question, context: AnalysisContext) -> Iterator[Answer]:
        """The answer to a question, whose kind is one of `info.capabilities.analyses`: last, after any progress.

        Each `next` is one bounded piece of work, which leaves no hook and disturbs no sequence. Raises, at any
        `next`, AnalysisRefusedError for a question that cannot be asked of this run, EngineError for a fault.
        Close it to give it up.
        """

    def values_of(self, context: AnalysisContext, places: SequenceOf[Place]) -> dict[Place, F32]:
        """What a run computed, under its own interventions, at these sites: [n_positions, width] each.

        Sites are z, neurons, attn_out and mlp_out. Computed at once; raises EngineError.
        """

    def estimate_bytes(self, n_positions: int, channels: frozenset[Channel]) -> int:
        """Memory that a run of `n_positions` takes: cache and captures."""

    def hooks_left(self) -> int:
        """Hooks of ours on the model right now; 0 between forward calls, always."""

    def close(self) -> None:
        """Let go of the model."""
