"""The linearised run on every family: exact values, relevance conserved, nothing left behind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.model.attributing import (
    CHECKS_OFF,
    DISTRACTOR,
    LAST,
    MASKS,
    PROMPT,
    SEGMENTS,
    TARGET,
    Engines,
    References,
    assert_conserved,
    attribute,
    frozen_of,
)
from tests.model.families import D_VOCAB, FAMILIES
from tests.model.reference import Edit

from livelens.analysis.attribution import Attribution
from livelens.analysis.edges import Edges
from livelens.analysis.nodes import AttributionError, Node, parse_node
from livelens.analysis.pacing import Pacing
from livelens.analysis.paths import strongest_paths
from livelens.analysis.relevance import gradient_x_input, integrated_gradients
from livelens.model.frozen import MAX_POSITIONS, FrozenRun, MaskSegment
from livelens.model.torch_engine import TorchEngine

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("segments", [(), SEGMENTS], ids=["clean", "edited"])
def test_values_are_those_of_the_plain_forward_bit_for_bit(
    tiny: Engines, tiny_reference: References, family: str, segments: tuple[MaskSegment, ...]
) -> None:
    engine = tiny(family)
    model = frozen_of(engine)
    run = model.run(PROMPT, segments)
    plain, streams = model.plain(lambda stream: stream, PROMPT, run.edits, 1)
    assert torch.equal(run.normed, plain)
    assert all(torch.equal(stream, layer.resid_post) for stream, layer in zip(streams, run.layers, strict=True))
    if not segments:
        with torch.inference_mode():
            own = engine.model.base_model(input_ids=torch.tensor([PROMPT]), use_cache=False).last_hidden_state
        assert torch.equal(run.normed, own)
    edit = Edit(start=4, stop=7, heads={(0, 3): 0.0}, neurons={(1, 7): 3.0}, attn={1: 0.5}, mlp={2: 0.7, 0: 0.0})
    full = tiny_reference(family).run(PROMPT, [edit] if segments else [])
    attribution = Attribution(model, run, target_id=TARGET, distractor_id=None)
    metric = tiny_reference(family).metric(full, LAST, TARGET, None)
    assert attribution.metric == pytest.approx(metric, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("segments", [(), SEGMENTS], ids=["clean", "edited"])
@pytest.mark.parametrize("distractor_id", [DISTRACTOR, None], ids=["pair", "mean"])
def test_relevance_at_the_input_and_biases_sum_to_the_metric(
    tiny: Engines, family: str, segments: tuple[MaskSegment, ...], distractor_id: int | None
) -> None:
    found = attribute(tiny(family), segments=segments, distractor_id=distractor_id).relevance()
    positional = np.zeros(1) if found.pos_embed is None else found.pos_embed
    total = sum(float(part.sum(dtype=np.float64)) for part in (found.embed, positional, found.bias))
    assert_conserved(found.metric - total - found.final_bias, found.metric, found.embed, positional, found.bias)
    assert sum(found.biases.values()) == pytest.approx(float(found.bias.sum()), abs=1e-4)
    assert found.layer_line[-1] == pytest.approx(found.metric, abs=1e-4)
    assert found.lens_line[-1] == pytest.approx(found.metric, abs=1e-4)
    assert (found.pos_embed is not None) == (family == "gpt2")
    if family in ("gemma2", "qwen3"):  # no biases anywhere
        assert not found.biases
        assert found.final_bias == 0.0
    else:
        assert np.abs(found.bias).max() > 1e-3 or family == "llama"


@settings(max_examples=15, deadline=None, suppress_health_check=CHECKS_OFF)
@given(data=st.data())
@pytest.mark.parametrize("family", FAMILIES)
def test_relevance_is_conserved_whatever_the_text_the_tokens_and_the_edits(
    tiny: Engines, family: str, data: st.DataObject
) -> None:
    tokens = data.draw(st.lists(st.integers(0, D_VOCAB - 1), min_size=1, max_size=16), label="tokens")
    target_id = data.draw(st.integers(0, D_VOCAB - 1), label="target")
    others = st.none() | st.integers(0, D_VOCAB - 1).filter(lambda token: token != target_id)
    found = attribute(
        tiny(family),
        tokens=tokens,
        segments=data.draw(st.sampled_from([(), SEGMENTS]), label="segments"),
        target_id=target_id,
        distractor_id=data.draw(others, label="distractor"),
    ).relevance()
    positional = np.zeros(1) if found.pos_embed is None else found.pos_embed
    total = sum(float(part.sum(dtype=np.float64)) for part in (found.embed, positional, found.bias))
    assert_conserved(found.metric - total - found.final_bias, found.metric, found.embed, positional, found.bias)


def test_long_work_ends_when_asked_to(tiny: Engines) -> None:
    class StopAskedError(Exception):
        pass

    def stop() -> None:
        raise StopAskedError

    engine = tiny("llama")
    before = _state(engine)
    edges = Edges(attribute(engine))
    with pytest.raises(StopAskedError):
        strongest_paths(edges, between=stop)
    with pytest.raises(StopAskedError):
        integrated_gradients(
            frozen_of(engine), edges.run, target_id=1, distractor_id=2, pacing=Pacing(stop, piece_secs=0.0)
        )
    assert _state(engine) == before


def _state(engine: TorchEngine) -> list[tuple[bool, bool, int]]:
    parameters = [(p.requires_grad, p.grad is None, p._version) for p in engine.model.parameters()]
    hooks = [(True, True, len(m._forward_hooks) + len(m._forward_pre_hooks)) for m in engine.model.modules()]
    return parameters + hooks


@pytest.mark.parametrize("family", FAMILIES)
def test_nothing_is_left_on_the_model(tiny: Engines, family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tiny(family)
    before = _state(engine)
    edges = Edges(attribute(engine, segments=SEGMENTS))
    edges.incoming(Node(kind="head", layer=2, index=0, pos=LAST))
    edges.outgoing(Node(kind="mlp", layer=0, pos=2))
    strongest_paths(edges)
    model = frozen_of(engine)
    gradient_x_input(model, edges.run, target_id=TARGET, distractor_id=None)
    assert _state(engine) == before

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(engine.anatomy.layers[1].mlp, "forward", broken)
    with pytest.raises(RuntimeError, match="in the middle"):
        model.run(PROMPT, SEGMENTS)
    assert _state(engine) == before
    monkeypatch.undo()
    with torch.inference_mode():
        logits = engine.model(input_ids=torch.tensor([PROMPT]), use_cache=False).logits
    assert not logits.requires_grad
    assert bool(torch.isfinite(logits).all())


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"target_id": 7, "distractor_id": 7}, "both token 7"),
        ({"target_id": D_VOCAB}, f"0 to {D_VOCAB - 1}"),
        ({"distractor_id": -1}, f"0 to {D_VOCAB - 1}"),
        ({"tokens": []}, "no tokens"),
        ({"tokens": [1, D_VOCAB]}, "outside the vocabulary"),
        ({"tokens": [1] * 129}, "at most 128 positions"),
    ],
)
def test_what_cannot_be_attributed_is_refused_with_the_limit(tiny: Engines, kwargs: dict[str, int], text: str) -> None:
    with pytest.raises(AttributionError, match=text):
        attribute(tiny("llama"), **kwargs)  # type: ignore[arg-type]
    assert issubclass(AttributionError, ValueError)


def test_other_questions_that_make_no_sense(tiny: Engines) -> None:
    edges = Edges(attribute(tiny("llama")))
    with pytest.raises(AttributionError, match="only heads"):
        edges.incoming(parse_node("L0.mlp@3"), part="query")
    with pytest.raises(AttributionError, match="sees 0 to 3"):
        edges.incoming(parse_node("L0H1@3"), part="key", key_pos=4)
    with pytest.raises(AttributionError, match="writes nothing"):
        edges.outgoing(parse_node("logit@8"))
    with pytest.raises(AttributionError, match="threshold"):
        strongest_paths(edges, threshold=0.0)
    model = frozen_of(tiny("llama"))
    with pytest.raises(AttributionError, match="steps"):
        integrated_gradients(model, edges.run, target_id=1, distractor_id=2, max_steps=10_000)
    with pytest.raises(AttributionError, match="ascend"):
        model.run(PROMPT, [MaskSegment(from_pos=3, masks=None), MaskSegment(from_pos=3, masks=MASKS)])
    assert model.max_positions() <= MAX_POSITIONS


def test_a_run_of_one_token_can_be_attributed(tiny: Engines) -> None:
    found: FrozenRun = frozen_of(tiny("gpt2")).run([5])
    assert found.n_positions == 1
    relevance = attribute(tiny("gpt2"), tokens=[5]).relevance()
    assert_conserved(relevance.error, relevance.metric, relevance.embed)
