"""A token at which a neuron was loud, with the text before it: of the run asked about, and of runs before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Protocol

from livelens.model.engine import TextStream
from livelens.protocol.messages import NeuronContext

N_CONTEXTS, N_BEFORE = 10, 12


class TokenTexts(Protocol):
    """What turns token ids into text; an Engine does."""

    def token_text(self, token_id: int) -> str:
        """One token alone."""

    def text_stream(self, prompt_ids: Sequence[int]) -> TextStream:
        """A stream that continues after `prompt_ids`."""


def neuron_context(
    tokens: TokenTexts, token_ids: Sequence[int], pos: int, value: float, *, run_id: str | None = None
) -> NeuronContext:
    """The token at `pos` and the text of the N_BEFORE tokens before it, characters whole."""
    start = max(0, pos - N_BEFORE)
    stream = tokens.text_stream(token_ids[:start])
    before = "".join([*(stream.push(token_id) for token_id in islice(token_ids, start, pos)), stream.flush()])
    return NeuronContext(pos=pos, value=value, before=before, text=tokens.token_text(token_ids[pos]), run_id=run_id)
