"""What is shown is what the shipped model did: held against plain Hugging Face, three prompts.

Exact arrays, before they are quantised; test_streamed_truth.py holds what is streamed, over longer texts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from tests.model.driving import Driven, assert_greedy, assert_position_equals, drive
from tests.model.reference import Edit, Full, Reference

from livelens.model.engine import LogitPair
from livelens.model.torch_engine import TorchEngine

PROMPTS = (
    "When Mary and John went to the store, John gave a drink to",
    "The Eiffel Tower is in the city of",
    "def add(a, b):\n    return",
)
N_NEW = 12
Runs = Callable[[str], tuple[Driven, Full, int]]


@pytest.fixture(scope="module")
def clean(shipped: TorchEngine, shipped_reference: Reference) -> Runs:
    """`clean(prompt)`: the run without edits, and the reference's forward over the same tokens."""

    @cache
    def run(prompt: str) -> tuple[Driven, Full, int]:
        ids = shipped.tokenize(prompt, apply_chat_template=False)
        driven = drive(shipped, ids, N_NEW)
        return driven, shipped_reference.run(driven.tokens[:-1]), len(ids)

    return run


@pytest.mark.parametrize("prompt", PROMPTS)
def test_every_channel_of_every_position_equals_the_reference(
    clean: Runs, shipped_reference: Reference, prompt: str
) -> None:
    driven, full, _ = clean(prompt)
    assert sorted(driven.arrays) == list(range(len(driven.tokens) - 1))
    for position in driven.arrays:
        assert_position_equals(driven, shipped_reference, full, position, term_by_term=position % 5 == 0)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_tokens_equal_those_of_generate(
    clean: Runs, shipped: TorchEngine, shipped_reference: Reference, prompt: str
) -> None:
    driven, full, n_prompt = clean(prompt)
    assert_greedy(driven, full, n_prompt)
    assert driven.tokens == shipped_reference.greedy(driven.tokens[:n_prompt], N_NEW)


def test_direct_logit_of_a_pair_sums_to_the_logit_difference(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    ids = shipped.tokenize(PROMPTS[0], apply_chat_template=False)
    mary, john = shipped.token_ids(" Mary")[0], shipped.token_ids(" John")[0]
    pair = LogitPair(target_id=mary, distractor_id=john)
    driven = drive(shipped, ids, 4, pair=pair)
    full = shipped_reference.run(driven.tokens[:-1])
    for position in driven.arrays:
        assert_position_equals(
            driven, shipped_reference, full, position, pair=pair, term_by_term=position >= len(ids) - 1
        )
    end = len(ids) - 1
    assert driven.arrays[end].direct.total == pytest.approx(
        float(full.logits[end, mary] - full.logits[end, john]), rel=1e-3
    )


EDITS = {
    "heads": {"heads": {(3, 1): 0.0, (12, 8): 0.0, (23, 0): 0.0, (23, 3): 0.0, (29, 1): 0.0}},
    "neurons": {"neurons": {(0, 5): 0.0, (7, 1404): 0.0, (28, 1078): 0.0, (29, 573): 0.0}},
    "attention layer": {"attn": {5: 0.0}},
    "mlp layer": {"mlp": {11: 0.0}},
    "scales": {"heads": {(20, 2): 2.5, (0, 0): -1.0}, "neurons": {(29, 529): 3.0}, "attn": {9: 0.5}, "mlp": {2: 1.5}},
}


@pytest.mark.parametrize("kind", EDITS)
def test_an_edit_in_the_middle_of_a_generation_equals_a_full_forward_with_it_there_only(
    shipped: TorchEngine, shipped_reference: Reference, kind: str
) -> None:
    """On at generated token 3, off at 7; the cache keeps what was computed in between."""
    ids = shipped.tokenize(PROMPTS[0], apply_chat_template=False)
    start, stop = len(ids) + 3, len(ids) + 7
    edits = [Edit(start=start, stop=stop, **EDITS[kind])]
    driven = drive(shipped, ids, N_NEW, edits=edits, read_prompt=False)
    full = shipped_reference.run(driven.tokens[:-1], edits)
    assert_greedy(driven, full, len(ids))
    for position in driven.arrays:
        closely = position in (start - 1, start, stop - 1, stop, stop + 1)
        assert_position_equals(
            driven, shipped_reference, full, position, edits=edits, term_by_term=closely, lens=closely
        )
    unedited = shipped_reference.run(driven.tokens[:-1])
    assert float((unedited.logits - full.logits).abs()[start:].max()) > 1e-2, "the edit changed nothing"


@pytest.mark.parametrize("kind", EDITS)
def test_a_recompute_from_the_start_equals_a_full_forward_under_the_edit(
    shipped: TorchEngine, shipped_reference: Reference, kind: str
) -> None:
    ids = shipped.tokenize(PROMPTS[1], apply_chat_template=False)
    edits = [Edit(start=0, stop=10_000, **EDITS[kind])]
    driven = drive(shipped, ids, 4, edits=edits)
    full = shipped_reference.run(driven.tokens[:-1], edits)
    assert_greedy(driven, full, len(ids))
    for position in driven.arrays:
        closely = position % 5 == 0
        assert_position_equals(
            driven, shipped_reference, full, position, edits=edits, term_by_term=closely, lens=closely
        )
