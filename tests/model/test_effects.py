"""Measured effects: every row of the batch equals a plain Hugging Face forward with that one component replaced."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
import pytest
from tests.model.families import D_VOCAB, FAMILIES
from tests.model.questions import answered, metric_of, output_of, parts_of, replaced, segments_of
from tests.model.reference import Edit, Reference

from livelens.analysis.attribution import Attribution
from livelens.model import caches
from livelens.model.effects import measure_effects
from livelens.model.engine import AnalysisRefusedError, EngineError
from livelens.model.frozen import FrozenModel
from livelens.model.replay import rows_over_shared_cache, stretches
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    Component,
    EffectsReady,
    Metric,
    MetricQuestion,
    RequestEffects,
)
from livelens.protocol.tensors import reconstruct

Tiny = Callable[[str], TorchEngine]
TinyReference = Callable[[str], Reference]
MARY = "When Mary and John went to the store, John gave a drink to"
EDITS = (
    Edit(start=0, stop=5, heads={(0, 1): 0.0}),
    Edit(start=5, stop=100, heads={(1, 2): 0.5}, neurons={(0, 3): 0.0}, mlp={2: 1.5}),
)
LISTED = [
    Component(kind="head", layer=0, index=2),
    Component(kind="neuron", layer=1, index=7),
    Component(kind="attn", layer=1),
    Component(kind="mlp", layer=0),
    Component(kind="head", layer=2, index=3),
]


def ask(pos: int, **fields: object) -> RequestEffects:
    return RequestEffects(request_id=1, run_id="r", metric=MetricQuestion(pos=pos), **fields)


def tokens_of(family: str, n: int = 14) -> list[int]:
    return random.Random(family).sample(range(3, D_VOCAB), n)


def expected(
    reference: Reference, ids: Sequence[int], metric: Metric, answer: EffectsReady, edits: Sequence[Edit]
) -> tuple[np.ndarray, np.ndarray]:
    """Effects and target probabilities of the answer's components, the long way round."""
    full = reference.run(ids, edits)
    span = slice(0 if answer.everywhere else metric.pos, metric.pos + 1)
    effects, probs = [], []
    for component in answer.components:
        output = output_of(full, component, reference.n_heads)
        value = np.zeros_like(output[0]) if answer.ablation == "zero" else output[: metric.pos].mean(0)
        with replaced(reference, component, value, span):
            changed = reference.run(ids, edits)
        after = reference.metric(changed, metric.pos, metric.target_id, metric.distractor_id)
        effects.append(metric.value - after)
        probs.append(float(changed.logits[metric.pos].softmax(-1)[metric.target_id]))
    return np.array(effects), np.array(probs)


def assert_equals_reference(
    answer: EffectsReady, reference: Reference, ids: Sequence[int], metric: Metric, edits: Sequence[Edit]
) -> None:
    effects, probs = expected(reference, ids, metric, answer, edits)
    tolerance = 2e-4 * max(1.0, abs(metric.value))
    assert np.abs(reconstruct(answer.effects) - effects).max() <= tolerance
    assert np.abs(reconstruct(answer.probs) - probs).max() <= 2e-4
    assert np.abs(effects).max() > 10 * tolerance, "nothing happened: the comparison says nothing"


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("ablation", ["zero", "mean"])
@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_listed_components_equal_the_reference(
    tiny: Tiny, tiny_reference: TinyReference, family: str, everywhere: bool, ablation: str
) -> None:
    """Under the run's own interventions, which change in the middle, with another pair than the likeliest."""
    engine, reference, ids = tiny(family), tiny_reference(family), tokens_of(family)
    pos = len(ids) - 2  # a run that has moved on
    metric = metric_of(reference, reference.run(ids[: pos + 1], EDITS), pos, ids[pos + 1], 17)
    question = ask(pos, scope="listed", components=LISTED, ablation=ablation, everywhere=everywhere)
    _, answer = answered(measure_effects(question, metric, ids, segments_of(EDITS, 14, engine), parts_of(engine)))
    assert answer.components == LISTED
    assert_equals_reference(answer, reference, ids[: pos + 1], metric, EDITS)
    clean = reference.run(ids[: pos + 1], EDITS).logits[pos].softmax(-1)[ids[pos + 1]]
    assert answer.clean_prob == pytest.approx(float(clean), rel=1e-3)
    assert engine.hooks_left() == 0


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("scope", ["heads", "attn", "mlps", "neurons"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_scope_equals_the_reference(tiny: Tiny, tiny_reference: TinyReference, family: str, scope: str) -> None:
    engine, reference, ids = tiny(family), tiny_reference(family), tokens_of(family, 9)
    pos = len(ids) - 1
    full = reference.run(ids)
    metric = metric_of(reference, full, pos, 5, None)
    _, answer = answered(measure_effects(ask(pos, scope=scope, n_neurons=6), metric, ids, [], parts_of(engine)))
    n_layers, n_heads = engine.info.n_layers, engine.info.n_heads
    assert len(answer.components) == {"heads": n_layers * n_heads, "attn": 3, "mlps": 3, "neurons": 6}[scope]
    assert len(set(answer.components)) == len(answer.components)
    assert_equals_reference(answer, reference, ids, metric, ())
    if scope == "neurons":
        direct = reference.direct(full, pos, 5, None)["neurons"].abs()
        best = {divmod(i, direct.shape[1]) for i in direct.flatten().topk(6).indices.tolist()}
        assert {(c.layer, c.index) for c in answer.components} == best


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("scope", ["heads", "neurons"])
def test_no_row_copies_the_tokens_before_it(
    tiny: Tiny, tiny_reference: TinyReference, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    engine, reference, ids = tiny("llama"), tiny_reference("llama"), tokens_of("llama", 9)
    metric = metric_of(reference, reference.run(ids), len(ids) - 1, 5, None)

    def copied(*_: object) -> None:
        raise AssertionError("a prefix was copied")

    monkeypatch.setattr(caches, "_after", copied)
    _, answer = answered(measure_effects(ask(len(ids) - 1, scope=scope), metric, ids, [], parts_of(engine)))
    assert answer.components


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("everywhere", [False, True])
def test_the_first_token_can_be_asked_about(tiny: Tiny, tiny_reference: TinyReference, everywhere: bool) -> None:
    engine, reference = tiny("llama"), tiny_reference("llama")
    metric = metric_of(reference, reference.run([7]), 0, 5, 6)
    question = ask(0, scope="heads", everywhere=everywhere)
    _, answer = answered(measure_effects(question, metric, [7], [], parts_of(engine)))
    assert_equals_reference(answer, reference, [7], metric, ())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("ablation", ["zero", "mean"])
@pytest.mark.parametrize("everywhere", [False, True])
def test_attributed_values_are_exact_where_nothing_comes_after(
    tiny: Tiny, tiny_reference: TinyReference, everywhere: bool, ablation: str
) -> None:
    """The last MLP acts on the logits alone: what is attributed to it is its own write along them."""
    engine, reference, ids = tiny("llama"), tiny_reference("llama"), tokens_of("llama")
    pos, parts = len(ids) - 1, parts_of(engine)
    full = reference.run(ids, EDITS)
    metric = metric_of(reference, full, pos, 5, 6)
    segments = segments_of(EDITS, len(ids), engine)
    frozen = FrozenModel(engine.model, engine.anatomy, logit_scale=parts.readout.logit_scale)
    attribution = Attribution(frozen, frozen.run(ids, segments), target_id=5, distractor_id=6)
    components = [Component(kind="mlp", layer=2), *LISTED]
    question = ask(pos, components=components, ablation=ablation, everywhere=everywhere)
    _, answer = answered(measure_effects(question, metric, ids, segments, parts, attribution=attribution))
    assert answer.attributed is not None
    last = float(reconstruct(answer.attributed)[0])
    written = full.mlp_out[2]
    lost = written[pos] - (written[:pos].mean(0) if ablation == "mean" else 0.0)
    direction = reference.model.lm_head.weight[5] - reference.model.lm_head.weight[6]
    through = reference._norm_linear(reference.final_norm, full.resid[-1][pos], lost[None])[0]
    assert last == pytest.approx(float((through @ direction).detach()), rel=1e-3)
    assert answer.spearman is not None and -1 <= answer.spearman <= 1
    assert answer.sign_agreement is not None and 0 <= answer.sign_agreement <= 1


def test_stretches_cover_every_position_once_and_end_where_the_masks_change(tiny: Tiny) -> None:
    found = stretches(segments_of(EDITS, 14, tiny("llama")), 14, longest=4)
    assert found[0].start == 0
    assert found[-1].stop == 14
    assert all(one.stop == other.start for one, other in pairwise(found))
    assert max(s.stop - s.start for s in found) <= 4
    assert 5 in {s.start for s in found}


def test_bad_questions_are_told_so(tiny: Tiny, tiny_reference: TinyReference) -> None:
    engine, reference = tiny("llama"), tiny_reference("llama")
    metric = metric_of(reference, reference.run([7, 8]), 1, 5, 6)
    parts = parts_of(engine)
    for question, of, ids, text in [
        (ask(1, components=[]), metric, [7, 8], "no components"),
        (ask(1, components=[Component(kind="head", layer=9, index=0)]), metric, [7, 8], "layer 9"),
        (ask(1, scope="heads"), metric, [7], "outside the run"),
        (ask(0, scope="heads", ablation="mean"), metric_of(reference, reference.run([7]), 0, 5, 6), [7], "none before"),
    ]:
        with pytest.raises(AnalysisRefusedError, match=text):
            list(measure_effects(question, of, ids, [], parts))
    with pytest.raises(EngineError, match="could not be computed again"):
        list(measure_effects(ask(1, scope="heads"), metric, [7, 9], [], parts))


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("family", FAMILIES)
def test_questions_between_two_tokens_change_nothing_of_a_run(
    tiny: Tiny, tiny_reference: TinyReference, family: str
) -> None:
    """Bit for bit, whether they are answered or given up in the middle."""
    engine, ids = tiny(family), tokens_of(family)
    metric = metric_of(tiny_reference(family), tiny_reference(family).run(ids[:9]), 8, 5, 6)

    def stepped(between: Callable[[], None]) -> list[np.ndarray]:
        sequence, logits = engine.open_sequence(), []
        for start, stop in ((0, 8), *((at, at + 1) for at in range(8, len(ids)))):
            logits.append(sequence.forward(ids[start:stop], masks=None, channels=frozenset()).logits)
            between()
        sequence.close()
        return logits

    def ask_and_give_up() -> None:
        for everywhere in (False, True):
            question = ask(8, scope="heads", everywhere=everywhere)
            pieces = measure_effects(question, metric, ids, [], parts_of(engine))
            next(pieces)
            pieces.close()
            assert engine.hooks_left() == 0
            answered(measure_effects(question, metric, ids, [], parts_of(engine)))

    alone, asked = stepped(lambda: None), stepped(ask_and_give_up)
    assert all(np.array_equal(one, other) for one, other in zip(alone, asked, strict=True))


def test_the_strongest_heads_of_the_shipped_model(shipped: TorchEngine, shipped_reference: Reference) -> None:
    """All 270 heads at one token: the four that were found by hand are the strongest, in that order."""
    ids = shipped.tokenize(MARY, apply_chat_template=False)
    mary, john = shipped.token_ids(" Mary")[0], shipped.token_ids(" John")[0]
    pos = len(ids) - 1
    metric = metric_of(shipped_reference, shipped_reference.run(ids), pos, mary, john)
    parts = parts_of(shipped)
    progress, answer = answered(measure_effects(ask(pos, scope="heads"), metric, ids, [], parts))
    effects = reconstruct(answer.effects)
    order = np.argsort(-np.abs(effects))
    strongest = [(answer.components[i].layer, answer.components[i].index) for i in order[:4]]
    print([(f"L{c.layer}H{c.index}", round(float(effects[i]), 3)) for i in order[:8] for c in [answer.components[i]]])
    print(f"{answer.secs:.2f} s for {len(effects)} heads, rows of {rows_over_shared_cache(parts, len(ids))}")
    assert strongest == [(23, 3), (29, 1), (29, 0), (20, 0)]
    assert progress[-1].done == progress[-1].total


def test_some_components_of_the_shipped_model_equal_the_reference(
    shipped: TorchEngine, shipped_reference: Reference
) -> None:
    ids = shipped.tokenize(MARY, apply_chat_template=False)
    pos = len(ids) - 1
    edits = (Edit(start=6, stop=100, heads={(23, 0): 0.0}, mlp={11: 0.5}),)
    metric = metric_of(shipped_reference, shipped_reference.run(ids, edits), pos, shipped.token_ids(" Mary")[0], None)
    components = [
        Component(kind="head", layer=23, index=3),
        Component(kind="neuron", layer=28, index=1078),
        Component(kind="attn", layer=5),
        Component(kind="mlp", layer=29),
    ]
    for everywhere, ablation in ((False, "zero"), (True, "mean")):
        question = ask(pos, components=components, ablation=ablation, everywhere=everywhere)
        segments = segments_of(edits, len(ids), shipped)
        _, answer = answered(measure_effects(question, metric, ids, segments, parts_of(shipped)))
        assert_equals_reference(answer, shipped_reference, ids, metric, edits)
