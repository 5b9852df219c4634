"""`Engine` on a Hugging Face model with torch hooks under TransformerLens's names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from livelens.model.ablated_rows import AblatedRows
from livelens.model.anatomy import Anatomy
from livelens.model.cached_rows import SequenceParts
from livelens.model.capture import hooks_on
from livelens.model.comparison import Comparer
from livelens.model.engine import F32, AnalysisContext
from livelens.model.lens_thread import LensThread
from livelens.model.operations import Place
from livelens.model.readout import Readout, WriteWeights
from livelens.model.sequence import TorchSequence
from livelens.model.tokens import Tokens, TokenTextStream
from livelens.protocol.messages import Answer, Channel, ModelInfo, Question, RequestComparison

if TYPE_CHECKING:
    from livelens.model.analyst import TorchAnalyst
    from livelens.model.bridge import TransformerBridge
    from livelens.model.replay import ModelParts


class TorchEngine:
    """A network on this machine. Used by one thread; `info` may be read from any."""

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        *,
        anatomy: Anatomy,
        readout: Readout,
        weights: WriteWeights,
        info: ModelInfo,
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._anatomy = anatomy
        self._readout = readout
        self._weights = weights
        self._info = info
        self._lens_thread = LensThread(readout)
        self._sequence_parts = SequenceParts(
            model=model,
            anatomy=anatomy,
            readout=readout,
            weights=weights,
            lens_thread=self._lens_thread,
            ablated_rows=AblatedRows(model, anatomy),
        )
        self._tokens = Tokens(tokenizer)
        self._hooks_before = hooks_on(anatomy.hooked_modules())
        self._bridge: TransformerBridge | None = None
        self._analyst: TorchAnalyst | None = None
        self._comparer = Comparer(self)

    @property
    def info(self) -> ModelInfo:
        """Shape, identity and capabilities."""
        return self._info

    @property
    def model(self) -> PreTrainedModel:
        """The Hugging Face model that the streaming path hooks."""
        return self._model

    @property
    def anatomy(self) -> Anatomy:
        """Where the model's components lie."""
        return self._anatomy

    @property
    def bridge(self) -> TransformerBridge:
        """TransformerLens's bridge over the same parameters, made at the first call, for analysis."""
        if self._bridge is None:
            from livelens.model.bridge import build_bridge  # seldom needed

            self._bridge = build_bridge(self._model, self._tokenizer)
        return self._bridge

    @property
    def eos_ids(self) -> frozenset[int]:
        """Tokens that end a text."""
        declared: list[int] = []
        for config in (self._model.generation_config, self._model.config):
            eos = getattr(config, "eos_token_id", None)
            declared += eos if isinstance(eos, list) else [] if eos is None else [eos]
        return self._tokens.eos_ids(declared)

    def tokenize(self, text: str, *, apply_chat_template: bool) -> list[int]:
        """Token ids of a prompt, with the special tokens the model expects. Raises EngineError."""
        return self._tokens.tokenize(text, apply_chat_template=apply_chat_template)

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a bare piece of text, no special tokens: for target and distractor."""
        return self._tokens.token_ids(text)

    def token_text(self, token_id: int) -> str:
        """One token alone, for a label."""
        return self._tokens.token_text(token_id)

    def text_stream(self, prompt_ids: Sequence[int]) -> TokenTextStream:
        """A stream that continues after `prompt_ids`."""
        return self._tokens.text_stream(prompt_ids)

    def open_sequence(self) -> TorchSequence:
        """A new, empty sequence; it may need the memory that the last question's runs take."""
        self._comparer.drop()
        if self._analyst is not None:
            self._analyst.drop()
        return TorchSequence(self._sequence_parts)

    def analyse(self, question: Question, context: AnalysisContext) -> Iterator[Answer]:
        """Progress, then the answer; see `Engine.analyse`."""
        if isinstance(question, RequestComparison):
            return self._comparer.answer(question, context)
        if self._analyst is None:
            from livelens.model.analyst import TorchAnalyst  # not needed to watch

            self._analyst = TorchAnalyst(self._parts())
        return self._analyst.answer(question, context)

    def values_of(self, context: AnalysisContext, places: Sequence[Place]) -> dict[Place, F32]:
        """What a run computed at these sites; see `Engine.values_of`."""
        from livelens.model.reference_values import values_of  # not needed to watch

        return values_of(self._parts(), context, places)

    def _parts(self) -> ModelParts:
        from livelens.model.replay import ModelParts  # not needed to watch

        return ModelParts(
            model=self._model,
            readout=self._readout,
            weights=self._weights,
            tokens=self._tokens,
            info=self._info,
        )

    def estimate_bytes(self, n_positions: int, channels: frozenset[Channel]) -> int:
        """Memory that a run of `n_positions` takes: its cache, and the captures of `channels` if all were held."""
        shape = self._anatomy.shape
        wide: dict[Channel, int] = {
            "neurons": shape.d_mlp,
            "heads": shape.n_heads * shape.d_head,
            "attention": shape.n_heads * (n_positions + 1) // 2,
            "residual": 2 * shape.d_model,
            "logit_lens": shape.d_vocab // shape.n_layers,
            "direct_logit": shape.d_mlp + shape.n_heads * shape.d_head + shape.d_model,
            "causal_effects": shape.d_mlp + shape.n_heads * shape.d_head + shape.d_model,
            "difference": 0,  # of what the other channels capture, in both rows
        }
        captures = sum(wide[channel] for channel in channels) + (shape.d_model if channels else 0)
        per_layer = 2 * shape.n_key_value_heads * shape.d_head + captures
        return int(shape.n_layers * per_layer * n_positions * self._model.dtype.itemsize)

    def hooks_left(self) -> int:
        """Hooks of ours on the model right now; 0 between forward calls, always."""
        return hooks_on(self._anatomy.hooked_modules()) - self._hooks_before

    def close(self) -> None:
        """Let go of the model; the engine is of no use afterwards."""
        self._bridge = None
        self._analyst = None
        self._comparer.drop()
        if hasattr(self, "_lens_thread"):
            self._lens_thread.close()
        for name in ("_model", "_anatomy", "_readout", "_weights", "_lens_thread", "_sequence_parts"):
            if hasattr(self, name):
                delattr(self, name)
