"""A small deterministic engine in numpy: most tests and the page's demos run on it, without torch.

It is a real, if random, transformer: heads with a KV cache, gated by nothing but its own residual
stream, an MLP, a final norm and an unembedding. Everything it reports is what it computed, and
interventions multiply into the computation, so an ablation changes the text. Its words follow a
tiny grammar that lives in the first dimensions of the residual stream, so that output reads like
sentences; a few neurons are loud and a few heads have a habit (previous token, first token,
induction), so that pictures look like those of a trained model.

The engine is here; its weights are in `weights.py`, the forward pass in `sequence.py`, what is
read out of it in `captured.py`, its words in `words.py`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence

import numpy as np

from livelens.model.comparison import Comparer
from livelens.model.engine import F32, AnalysisContext, AnalysisRefusedError, EngineError
from livelens.model.fake.lenses import FAKE_LENS_KINDS, FakeLenses
from livelens.model.fake.sequence import FakeSequence
from livelens.model.fake.weights import D_HEAD, RANDOM_DIMS, make_weights
from livelens.model.fake.words import Vocabulary, build_vocabulary
from livelens.model.interventions import InterventionMasks
from livelens.model.operations import Place
from livelens.protocol.messages import (
    ANALYSIS_KINDS,
    CHANNELS,
    OPERATIONS,
    Answer,
    Capabilities,
    Channel,
    LensQuestion,
    MissingAnalysis,
    ModelInfo,
    Question,
    RequestComparison,
)

_NO_ANALYSES = "the fake model only moves: start livelens with a real one to ask why"
_NAME = re.compile(
    r"fake(?::(?P<layers>\d{1,4})x(?P<heads>\d{1,4})x(?P<mlp>\d{1,6}))?(?:@(?P<pace>\d{1,4}(?:\.\d+)?))?", re.ASCII
)


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
        d_model = int(n_categories) + RANDOM_DIMS
        self._secs_per_token = 1 / tokens_per_second if tokens_per_second else 0.0
        self.weights = make_weights(n_layers, n_heads, d_mlp, d_model, self.vocabulary)
        shape = f"{n_layers}x{n_heads}x{d_mlp}"
        self._comparer = Comparer(self)
        self._lenses = FakeLenses(
            self, self.weights, lambda: FakeSequence(self._info, self.weights, secs_per_token=0.0)
        )
        self._info = ModelInfo(
            model_name=f"fake:{shape}",
            architecture="FakeForCausalLM",
            n_layers=n_layers,
            n_heads=n_heads,
            n_key_value_heads=n_heads,
            d_model=d_model,
            d_head=D_HEAD,
            d_mlp=d_mlp,
            d_vocab=len(self.vocabulary.pieces),
            n_ctx=n_ctx,
            dtype="float32",
            weights_sha256=hashlib.sha256(f"livelens fake {shape}".encode()).hexdigest(),
            capabilities=Capabilities(
                channels=list(channels),
                operations=list(OPERATIONS),
                component_kinds=["head", "neuron", "attn", "mlp"],
                has_chat_template=True,
                analyses=["comparison", *FAKE_LENS_KINDS],
                missing_analyses=[
                    MissingAnalysis(analysis=kind, reason=_NO_ANALYSES)
                    for kind in ANALYSIS_KINDS
                    if kind not in ("comparison", *FAKE_LENS_KINDS)
                ],
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
        return FakeSequence(self._info, self.weights, secs_per_token=self._secs_per_token)

    def analyse(self, question: Question, context: AnalysisContext) -> Iterator[Answer]:
        """Of its questions this engine answers those that need nothing but its forward pass."""
        if isinstance(question, RequestComparison):
            return self._comparer.answer(question, context)
        if isinstance(question, LensQuestion):
            return self._lenses.answer(question, context)
        raise AnalysisRefusedError("analysis_unavailable", _NO_ANALYSES)

    def values_of(self, context: AnalysisContext, places: Sequence[Place]) -> dict[Place, F32]:
        """What a run computed at these sites; see `Engine.values_of`."""
        sequence = FakeSequence(self._info, self.weights, secs_per_token=0.0)
        bounds = [*(segment.from_pos for segment in context.segments[1:]), context.n_positions]
        found: dict[Place, list[F32]] = {place: [] for place in places}
        for segment, stop in zip(context.segments, bounds, strict=True):
            token_ids = context.token_ids[segment.from_pos : min(stop, context.n_positions)]
            if token_ids:
                values = sequence.values_at(token_ids, segment.masks or InterventionMasks(), places)
                for place, rows in found.items():
                    rows.append(values[place])
        return {place: np.concatenate(rows) for place, rows in found.items()}

    def estimate_bytes(self, n_positions: int, channels: frozenset[Channel]) -> int:
        """Cache and captures of `n_positions`."""
        info = self._info
        per_position = 2 * info.n_layers * info.n_heads * D_HEAD
        if channels & {"neurons", "direct_logit", "causal_effects"}:
            per_position += info.n_layers * info.d_mlp
        if "attention" in channels:
            per_position += info.n_layers * info.n_heads * n_positions // 2
        return 4 * n_positions * per_position

    def hooks_left(self) -> int:
        """This engine multiplies its masks in place and has no hooks."""
        return 0

    def close(self) -> None:
        """Let go of what is kept for questions."""
        self._comparer.drop()


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
