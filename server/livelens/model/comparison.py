"""Two runs side by side: both computed in step, and every channel of one position told apart.

Of no engine in particular: it drives two of its sequences, as a run does. Both take their tokens in the same
forward calls, so that where they have the same tokens and interventions they compute the same bits, and every
difference there is exactly zero.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Protocol

from livelens.analysis.progress import Work
from livelens.model.compared_arrays import differences_of, tensors_of
from livelens.model.engine import (
    AnalysisContext,
    AnalysisRefusedError,
    Captured,
    LogitPair,
    StepArrays,
    TokenSequence,
)
from livelens.model.interventions import InterventionMasks
from livelens.protocol.messages import (
    AnalysisProgress,
    Channel,
    ComparisonReady,
    ModelInfo,
    RequestComparison,
    TopToken,
)

# Parameters times tokens of one forward call: about 0.1 s on two cores.
_WORK: Final = 4.5e9
_MOST_TOKENS: Final = 64
_TOP_TOKENS: Final = 8
_CHANNELS: Final[frozenset[Channel]] = frozenset(
    ("neurons", "heads", "attention", "residual", "logit_lens", "direct_logit")
)


class Comparable(Protocol):
    """What is needed of an engine."""

    @property
    def info(self) -> ModelInfo:
        """Shape and capabilities."""

    def tokenize(self, text: str, *, apply_chat_template: bool) -> list[int]:
        """Token ids of a prompt."""

    def token_ids(self, text: str) -> list[int]:
        """Token ids of a bare piece of text."""

    def token_text(self, token_id: int) -> str:
        """One token alone."""

    def open_sequence(self) -> TokenSequence:
        """A new, empty sequence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedToken:
    """A token at its position, and the masks there; `revision` names them, none where there are none."""

    token_id: int
    revision: int | None
    masks: InterventionMasks | None


@dataclass(slots=True, kw_only=True)
class _Pair:
    """Two sequences that went forward together, and what they computed, by position."""

    run_id: str
    sequences: tuple[TokenSequence, TokenSequence]
    done: list[tuple[tuple[int, int | None], tuple[int, int | None]]]


class Comparer:
    """Answers `request_comparison` on one engine, and keeps the last two runs, so that walking on costs one token."""

    def __init__(self, engine: Comparable) -> None:
        self._engine = engine
        self._held: _Pair | None = None

    def drop(self) -> None:
        """Let go of the runs that are kept."""
        held, self._held = self._held, None
        for sequence in held.sequences if held is not None else ():
            sequence.close()

    def answer(
        self, question: RequestComparison, context: AnalysisContext
    ) -> Iterator[AnalysisProgress | ComparisonReady]:
        """Progress, then the answer; see `Engine.analyse`. Raises AnalysisRefusedError, EngineError."""
        started = time.perf_counter()
        own, other = planned_tokens(question, context, self._engine)
        if question.pos >= len(other):
            raise AnalysisRefusedError(
                "position_out_of_range",
                f"the other text has {len(other)} tokens: positions 0 to {len(other) - 1} can be compared, "
                f"not {question.pos}",
            )
        pair = self._asked_pair(question)
        captured = yield from self._computed(question, own, other)
        yield self._answer(question, context, (own, other), captured, pair, started)

    def _asked_pair(self, question: RequestComparison) -> tuple[int | None, int | None]:
        """Target and distractor as token ids, none where none is named. Raises AnalysisRefusedError."""
        target_id = self._named("target", question.target)
        distractor_id = self._named("distractor", question.distractor)
        if target_id is not None and target_id == distractor_id:
            raise AnalysisRefusedError("same_target_and_distractor", "choose a target and a distractor that differ")
        return target_id, distractor_id

    def _named(self, role: str, asked: int | str | None) -> int | None:
        if asked is None:
            return None
        ids = [asked] if isinstance(asked, int) else self._engine.token_ids(asked)
        d_vocab = self._engine.info.d_vocab
        if not ids or ids[0] >= d_vocab:
            raise AnalysisRefusedError(
                "token_unknown", f"the {role} {asked!r} is not in the vocabulary: ids are 0 to {d_vocab - 1}"
            )
        return ids[0]

    def _computed(
        self, question: RequestComparison, own: Sequence[PlannedToken], other: Sequence[PlannedToken]
    ) -> Generator[AnalysisProgress, None, tuple[Captured, Captured]]:
        """Both runs up to the question's position, which is computed by itself, whatever was there before."""
        pos, channels = question.pos, frozenset(self._engine.info.capabilities.channels) & _CHANNELS
        pair = self._pair_up_to(question.run_id, own, other, pos)
        pieces = [*_pieces(own, other, len(pair.done), pos, self._longest()), (pos, pos + 1)]
        captured: list[Captured] = []
        work = Work(question, total=2 * len(pieces))
        try:
            for start, stop in pieces:
                for sequence, tokens in zip(pair.sequences, (own, other), strict=True):
                    ids = [token.token_id for token in tokens[start:stop]]
                    wanted: frozenset[Channel] = channels if start == pos else frozenset()
                    made = sequence.forward(ids, masks=tokens[start].masks, channels=wanted)
                    if start == pos:
                        captured.append(made)
                    yield work.step()
                pair.done += [
                    ((a.token_id, a.revision), (b.token_id, b.revision))
                    for a, b in zip(own[start:stop], other[start:stop], strict=True)
                ]
        except BaseException:  # half a step: the two no longer stand at one position
            for sequence in pair.sequences:
                sequence.close()
            raise
        self._held = pair
        return captured[0], captured[1]

    def _pair_up_to(self, run_id: str, own: Sequence[PlannedToken], other: Sequence[PlannedToken], pos: int) -> _Pair:
        """Two sequences that hold what both runs begin with, `pos` positions at most; what was kept is taken out."""
        held = self._held
        if held is None or held.run_id != run_id:
            self.drop()
            return _Pair(run_id=run_id, sequences=(self._engine.open_sequence(), self._engine.open_sequence()), done=[])
        self._held = None
        n = 0
        for (mine, theirs), a, b in zip(held.done, own[:pos], other[:pos], strict=False):
            if mine != (a.token_id, a.revision) or theirs != (b.token_id, b.revision):
                break
            n += 1
        for sequence in held.sequences:
            sequence.truncate(n)
        del held.done[n:]
        return held

    def _longest(self) -> int:
        """Tokens of one forward call."""
        info = self._engine.info
        per_layer = 4 * info.d_model * info.d_head * info.n_heads + 3 * info.d_model * info.d_mlp
        n_parameters = info.n_layers * per_layer + info.d_vocab * info.d_model
        return max(4, min(_MOST_TOKENS, int(_WORK / max(1, n_parameters))))

    def _answer(
        self,
        question: RequestComparison,
        context: AnalysisContext,
        runs: tuple[Sequence[PlannedToken], Sequence[PlannedToken]],
        captured: tuple[Captured, Captured],
        asked: tuple[int | None, int | None],
        started: float,
    ) -> ComparisonReady:
        own, other = runs
        info, text = self._engine.info, self._engine.token_text
        target_id, distractor_id = self._metric_tokens(question.pos, context, captured[0], asked)
        pair = LogitPair(target_id=target_id, distractor_id=distractor_id, n_neurons=info.n_layers * info.d_mlp)
        mine, theirs = (self._arrays(each, target_id, pair) for each in captured)
        prediction = captured[1].prediction(0, chosen_id=target_id, top_k=_TOP_TOKENS)
        other_lens = theirs.lens
        return ComparisonReady(
            request_id=question.request_id,
            run_id=question.run_id,
            pos=question.pos,
            without_interventions=question.without_interventions,
            other_tokens=[text(token.token_id) for token in other],
            differing=[pos for pos, (a, b) in enumerate(zip(own, other, strict=False)) if a.token_id != b.token_id],
            first_difference=first_difference(own, other),
            target_id=target_id,
            target_text=text(target_id),
            distractor_id=distractor_id,
            distractor_text=None if distractor_id is None else text(distractor_id),
            other_top_tokens=[
                TopToken(int(token_id), text(int(token_id)), float(prob))
                for token_id, prob in zip(prediction.top_ids, prediction.top_probs, strict=True)
            ],
            other_logprob=prediction.logprob,
            other_entropy=prediction.entropy,
            logprob=captured[0].prediction(0, chosen_id=target_id, top_k=1).logprob,
            other_lens_texts=None if other_lens is None else [text(int(token_id)) for token_id in other_lens.token_id],
            other=tensors_of(theirs, info),
            difference=differences_of(mine, theirs, info),
            secs=time.perf_counter() - started,
        )

    def _metric_tokens(
        self, pos: int, context: AnalysisContext, own: Captured, asked: tuple[int | None, int | None]
    ) -> tuple[int, int | None]:
        """Target and distractor; without a target the run's next token, or at its end the likeliest."""
        target_id, distractor_id = asked
        if target_id is None:
            ends_here = pos + 1 >= len(context.token_ids)
            target_id = int(own.logits.argmax()) if ends_here else context.token_ids[pos + 1]
        if target_id == distractor_id:
            both = self._engine.token_text(target_id)
            raise AnalysisRefusedError(
                "same_target_and_distractor", f"target and distractor are both {both!r}: choose another"
            )
        return target_id, distractor_id

    def _arrays(self, captured: Captured, target_id: int, pair: LogitPair) -> StepArrays:
        layer = captured.first_nonfinite_layer()
        if layer is not None:
            raise AnalysisRefusedError(
                "not_finite", f"one of the runs has values that are not finite from layer {layer} on"
            )
        channels = frozenset(self._engine.info.capabilities.channels) & _CHANNELS
        return captured.arrays(0, channels=channels, chosen_id=target_id, pair=pair)


def planned_tokens(
    question: RequestComparison, context: AnalysisContext, engine: Comparable
) -> tuple[list[PlannedToken], list[PlannedToken]]:
    """This run's tokens as far as they were computed, and the other run's, each with the masks of its position."""
    own_ids = context.token_ids[: context.n_positions]
    other_ids: Sequence[int] = own_ids
    if question.other_prompt is not None:
        prompt = engine.tokenize(question.other_prompt, apply_chat_template=question.apply_chat_template)
        follows = context.token_ids[context.n_prompt : context.n_positions] if len(prompt) == context.n_prompt else ()
        other_ids = [*prompt, *follows]

    def planned(ids: Sequence[int], *, is_clean: bool) -> list[PlannedToken]:
        tokens = []
        for pos, token_id in enumerate(ids):
            segment = next((each for each in reversed(context.segments) if each.from_pos <= pos), None)
            masks = None if segment is None or is_clean else segment.masks
            revision = None if segment is None or masks is None else segment.revision
            tokens.append(PlannedToken(token_id=token_id, revision=revision, masks=masks))
        return tokens

    return planned(own_ids, is_clean=False), planned(other_ids, is_clean=question.without_interventions)


def first_difference(own: Sequence[PlannedToken], other: Sequence[PlannedToken]) -> int | None:
    """The first position with another token or other masks; none where there is none."""
    both = enumerate(zip(own, other, strict=False))
    return next((pos for pos, (a, b) in both if (a.token_id, a.revision) != (b.token_id, b.revision)), None)


def _pieces(
    own: Sequence[PlannedToken], other: Sequence[PlannedToken], start: int, stop: int, longest: int
) -> list[tuple[int, int]]:
    """Positions `start` to `stop` - 1, cut where the masks of either run change and where a piece is full."""
    changes = [
        at
        for at in range(start + 1, stop)
        if any(tokens[at].revision != tokens[at - 1].revision for tokens in (own, other))
    ]
    cuts = [start, *changes, stop] if stop > start else []
    return [(at, min(at + longest, to)) for from_pos, to in pairwise(cuts) for at in range(from_pos, to, longest)]
