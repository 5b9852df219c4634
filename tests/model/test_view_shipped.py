"""A view of the shipped model: what it attributes is said of the model, and is proved by taking the part away."""

from __future__ import annotations

import numpy as np
import pytest

import livelens
from livelens.model.sources import ModelSource

MARY = "When Mary and John went to the store, John gave a drink to"
WHAT = {"pos": 13, "target": " Mary", "distractor": " John"}  # at the prompt's last token, not at a start token


def test_the_head_that_a_view_says_brings_mary_takes_her_away(shipped_source: ModelSource) -> None:
    with livelens.view(shipped_source.folder) as view:
        clean = view.generate(MARY, max_new_tokens=2).finish().run
        assert clean.n_prompt_tokens == 14 and clean.tokens[14].text == " Mary"
        found = view.attribution(**WHAT, n_edges=500)
        assert found.metric.value == pytest.approx(6.1196, abs=1e-3)  # as by hand: test_attribution_truth.py
        heads = {edge.writer: edge.weight for part in found.parts for edge in part.edges if "H" in edge.writer}
        strongest = max(heads, key=lambda name: heads[name])
        name = strongest.partition("@")[0]
        measured = view.measure([name], everywhere=True, **WHAT)
        assert heads[strongest] > 0.3 and float(measured.effects[0]) > 0.3
        view.ablate(name)
        without = view.generate(MARY, max_new_tokens=1, channels=["logit_lens"]).finish().run
        lost = np.log(float(measured.clean_prob)) - np.log(float(measured.probs[0]))
        assert lost > 0 and without.token_ids[:14] == clean.token_ids[:14]
        prob = {token.text: token.prob for token in without.steps[13].info.top_tokens}[" Mary"]
        assert prob == pytest.approx(float(measured.probs[0]), rel=1e-4)
