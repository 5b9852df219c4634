"""Questions about runs under every operation: measured ones equal forwards by hand, traced ones or why they are not."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from tests.model.families import D_MLP, N_HEADS
from tests.model.hand_hooks import Hands, Seen, forward_by_hand
from tests.model.operation_cases import Case, cases
from tests.model.reference import Reference
from tests.model.test_operations import Words, hands_of, world_of

from livelens.model.engine import AnalysisContext, AnalysisRefusedError, ContextSegment
from livelens.model.interventions import masks_from
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import (
    Answer,
    AttributionReady,
    Component,
    EffectsReady,
    MetricQuestion,
    OverviewReady,
    Question,
    RelevanceReady,
    RequestAttribution,
    RequestEffects,
    RequestOverview,
    RequestRelevance,
)
from livelens.protocol.tensors import reconstruct
from livelens.run.resources import RunResources, Surroundings

Engines = Callable[[str], TorchEngine]
References = Callable[[str], Reference]
IDS = [5, 17, 101, 9, 17, 44, 300, 5, 88, 17, 23, 9]
FROM, POS, TARGET, OTHER = 4, 10, 77, 13
METRIC = MetricQuestion(pos=POS, target=TARGET, distractor=OTHER)
MIXED = ("mean head", "set neuron", "resample attn", "add direction", "project out", "attention turn", "scale mlp")
CONSTANT = ("attention turn", "attention set, rest scaled", "attention knockout, rest as it was")


def context_of(engine: TorchEngine, reference: Reference, names: Sequence[str]) -> tuple[AnalysisContext, Hands]:
    """A run under these cases from position FROM on, and the same by hand."""
    world = world_of(engine, reference, layer=1, heads=(1, N_HEADS - 1), neuron=D_MLP // 2)
    made = cases(world)
    chosen: list[Case] = [made[name] for name in names]
    resources = RunResources(Words(engine), IDS, Surroundings(directions={"d": world.direction.numpy()}))
    masks = masks_from([case.spec for case in chosen], engine.info, resources)
    context = AnalysisContext(
        token_ids=tuple(IDS),
        n_prompt=len(IDS),
        n_positions=len(IDS),
        segments=(
            ContextSegment(from_pos=0, revision=0, masks=None),
            ContextSegment(from_pos=FROM, revision=1, masks=masks),
        ),
    )
    held = torch.arange(len(IDS)) >= FROM
    return context, hands_of([(case, held & _before(case.ends_at)) for case in chosen])


def _before(end: int | None) -> torch.Tensor:
    return torch.arange(len(IDS)) < (len(IDS) if end is None else end)


def metric_of(reference: Reference, seen: Seen) -> float:
    return reference.metric(seen, POS, TARGET, OTHER)


def ask(engine: TorchEngine, question: Question, context: AnalysisContext) -> Answer:
    *_, answer = engine.analyse(question, context)
    return answer


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2"])
def test_measured_effects_are_those_under_the_runs_own_operations(
    tiny: Engines, tiny_reference: References, family: str, everywhere: bool, one_thread: None
) -> None:
    """An ablation comes after them, also where it is on a component that they replaced."""
    engine, reference = tiny(family), tiny_reference(family)
    context, hands = context_of(engine, reference, MIXED)
    components = [
        Component("head", 1, 1),
        Component("head", 2, 0),
        Component("neuron", 1, D_MLP // 2),
        Component("mlp", 2),
    ]
    question = RequestEffects(request_id=1, run_id="r", metric=METRIC, components=components, everywhere=everywhere)
    answer = ask(engine, question, context)
    assert isinstance(answer, EffectsReady) and answer.attributed is None
    clean = metric_of(reference, forward_by_hand(reference, IDS[: POS + 1], _cut(hands)))
    assert answer.metric.value == pytest.approx(clean, abs=1e-4)
    d_head = engine.info.d_head
    for component, effect in zip(components, reconstruct(answer.effects), strict=True):
        site = {"head": "z", "neuron": "neurons"}.get(component.kind, component.kind)
        size = {"head": d_head, "neuron": 1}.get(component.kind, 10_000)
        columns = slice(component.index * size, (component.index + 1) * size)
        rows = slice(None) if everywhere else slice(POS, POS + 1)

        def zeroed(x: torch.Tensor, rows: slice = rows, columns: slice = columns) -> torch.Tensor:
            x = x.clone()
            x[rows, columns] = 0
            return x

        under = _cut(hands)
        before = under.get((site, component.layer), lambda x: x)
        under[site, component.layer] = lambda x, before=before, zeroed=zeroed: zeroed(before(x))
        ablated = metric_of(reference, forward_by_hand(reference, IDS[: POS + 1], under))
        assert float(effect) == pytest.approx(clean - ablated, abs=2e-4), component


def _cut(hands: Hands) -> dict[tuple[str, int], Callable[[torch.Tensor], torch.Tensor]]:
    """The hands for the text up to the metric's position: theirs are as long as the run."""

    def cut(hand: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[torch.Tensor], torch.Tensor]:
        def on_a_part(x: torch.Tensor) -> torch.Tensor:
            missing = len(IDS) - x.shape[-2]
            whole = torch.cat([x, x[..., -1:, :].expand(*x.shape[:-2], missing, x.shape[-1])], dim=-2)
            if x.dim() == 3:  # a pattern: as many keys as queries
                whole = torch.cat([whole, whole.new_zeros(*whole.shape[:-1], missing)], dim=-1)
                return hand(whole)[:, : x.shape[-2], : x.shape[-1]]
            return hand(whole)[: len(x)]

        return on_a_part

    return {place: cut(hand) for place, hand in hands.items()}


@pytest.mark.parametrize("family", ["llama", "gpt2", "gpt_neox", "gemma2", "qwen3"])
def test_written_attention_rows_are_traced_and_everything_sums_to_the_metric(
    tiny: Engines, tiny_reference: References, family: str, one_thread: None
) -> None:
    engine, reference = tiny(family), tiny_reference(family)
    context, hands = context_of(engine, reference, CONSTANT)
    metric = metric_of(reference, forward_by_hand(reference, IDS[: POS + 1], _cut(hands)))
    relevance = ask(engine, RequestRelevance(request_id=1, run_id="r", metric=METRIC), context)
    assert isinstance(relevance, RelevanceReady)
    assert relevance.metric.value == pytest.approx(metric, abs=1e-4)
    assert relevance.total == pytest.approx(metric, abs=1e-3)
    overview = ask(engine, RequestOverview(request_id=1, run_id="r", metric=METRIC), context)
    assert isinstance(overview, OverviewReady) and overview.shown == pytest.approx(1, abs=1e-3)
    question = RequestAttribution(request_id=1, run_id="r", metric=METRIC, node=f"L1H1@{POS}")
    attributed = ask(engine, question, context)
    assert isinstance(attributed, AttributionReady)
    value = next(part for part in attributed.parts if part.part == "value")
    assert abs(value.error) <= 1e-3 * max(1.0, abs(value.value))


@pytest.mark.parametrize("name", ["mean head", "set neuron", "resample mlp", "add direction", "project out"])
def test_what_cannot_be_traced_is_refused_and_a_token_before_it_is_not(
    tiny: Engines, tiny_reference: References, name: str, one_thread: None
) -> None:
    engine, reference = tiny("llama"), tiny_reference("llama")
    context, _ = context_of(engine, reference, [name])
    run_id = f"under {name}"
    with pytest.raises(AnalysisRefusedError, match="cannot be traced yet"):
        ask(engine, RequestOverview(request_id=1, run_id=run_id, metric=METRIC), context)
    earlier = MetricQuestion(pos=FROM - 1, target=TARGET, distractor=OTHER)
    answer = ask(engine, RequestOverview(request_id=1, run_id=run_id, metric=earlier), context)
    assert isinstance(answer, OverviewReady)
    assert np.isfinite(answer.shown)
