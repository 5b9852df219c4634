"""What a run's interventions may name and do not bring: directions, edits, values of its prompt, of texts and runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from livelens.model.engine import AnalysisContext, ContextSegment, Engine, EngineError
from livelens.model.operations import F32, Place, WeightEdit
from livelens.protocol.messages import Reference

# They are computed at once, between two tokens of every run: about three seconds of two cores.
MAX_REFERENCE_TOKENS: Final = 1024


def _no_run(run_id: str) -> AnalysisContext | None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What the model thread knows beside one run. directions, edits: by id; run_of: another run as it is now."""

    directions: Mapping[str, F32]
    edits: Mapping[str, WeightEdit] = field(default_factory=dict)
    run_of: Callable[[str], AnalysisContext | None] = _no_run


class RunResources:
    """`Resources` of one run's interventions."""

    def __init__(self, engine: Engine, prompt_ids: Sequence[int], surroundings: Surroundings) -> None:
        self._engine = engine
        self._prompt_ids = tuple(prompt_ids)
        self._surroundings = surroundings

    def direction(self, direction_id: str) -> F32:
        """[d_model]; raises ValueError for one that the server does not hold."""
        direction = self._surroundings.directions.get(direction_id)
        if direction is None:
            raise ValueError(f"this server holds no direction {direction_id!r}: put it, or have it made, once more")
        return direction

    def rank_one_edit(self, edit_id: str) -> WeightEdit:
        """Raises ValueError for one that the server does not hold."""
        edit = self._surroundings.edits.get(edit_id)
        if edit is None:
            raise ValueError(f"this server holds no edit {edit_id!r}: put it, or have it made, once more")
        return edit

    def reference_values(self, reference: Reference, places: Sequence[Place]) -> list[dict[Place, F32]]:
        """Of each text or run: what was computed at `places`, [n_positions, width]; raises ValueError."""
        contexts = self._contexts(reference)
        n_tokens = sum(context.n_positions for context in contexts)
        if n_tokens > MAX_REFERENCE_TOKENS:
            raise ValueError(
                f"the reference has {n_tokens} tokens and at most {MAX_REFERENCE_TOKENS} are computed: shorten it"
            )
        return [self._engine.values_of(context, places) for context in contexts]

    def _contexts(self, reference: Reference) -> list[AnalysisContext]:
        if reference.source == "prompt":
            return [_clean(self._prompt_ids)]
        if reference.source == "text":
            return [_clean(self._tokenized(text, reference)) for text in reference.texts]
        context = None if reference.run_id is None else self._surroundings.run_of(reference.run_id)
        if context is None:
            raise ValueError("this server no longer has the run that the reference names: start it again")
        if context.n_positions == 0:
            raise ValueError("nothing of the run that the reference names is computed yet")
        return [context]

    def _tokenized(self, text: str, reference: Reference) -> tuple[int, ...]:
        try:
            token_ids = self._engine.tokenize(text, apply_chat_template=reference.apply_chat_template)
        except EngineError as error:
            raise ValueError(str(error)) from error
        n_ctx = self._engine.info.n_ctx
        if not 1 <= len(token_ids) <= n_ctx:
            raise ValueError(f"a reference text has {len(token_ids)} tokens, this model takes 1 to {n_ctx}")
        return tuple(token_ids)


def _clean(token_ids: tuple[int, ...]) -> AnalysisContext:
    """A text with no intervention in force."""
    segment = ContextSegment(from_pos=0, revision=0, masks=None)
    return AnalysisContext(
        token_ids=token_ids, n_prompt=len(token_ids), n_positions=len(token_ids), segments=(segment,)
    )
