"""The linearised run on every family: exact values, everything conserved, nothing left behind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients as CaptumIntegratedGradients
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.model.families import D_MLP, D_VOCAB, FAMILIES, N_HEADS, N_LAYERS
from tests.model.reference import Edit, Reference

from livelens.analysis import relevance
from livelens.analysis.attribution import Attribution
from livelens.analysis.edge_types import Incoming, Outgoing
from livelens.analysis.edges import Edges
from livelens.analysis.nodes import AttributionError, Node, parse_node
from livelens.analysis.pacing import Pacing
from livelens.analysis.paths import strongest_paths
from livelens.analysis.relevance import gradient_x_input, integrated_gradients
from livelens.model.frozen import MAX_POSITIONS, FrozenModel, FrozenRun, MaskSegment
from livelens.model.interventions import InterventionMasks
from livelens.model.torch_engine import TorchEngine

pytestmark = pytest.mark.usefixtures("one_thread")

PROMPT = [5, 100, 42, 7, 310, 599, 12, 451, 3]
LAST = len(PROMPT) - 1
TARGET, DISTRACTOR = 11, 400
MASKS = InterventionMasks(
    heads={0: np.array([1, 1, 1, 0], np.float32)},
    neurons={1: np.where(np.arange(D_MLP) == 7, 3, 1).astype(np.float32)},
    attn={1: 0.5},
    mlp={2: 0.7, 0: 0.0},
)
SEGMENTS = (MaskSegment(from_pos=4, masks=MASKS), MaskSegment(from_pos=7, masks=None))
Engines = Callable[[str], TorchEngine]
References = Callable[[str], Reference]


def frozen_of(engine: TorchEngine) -> FrozenModel:
    return FrozenModel(engine.model, engine.anatomy)


def attribute(
    engine: TorchEngine,
    *,
    tokens: list[int] = PROMPT,
    segments: tuple[MaskSegment, ...] = (),
    target_id: int = TARGET,
    distractor_id: int | None = DISTRACTOR,
) -> Attribution:
    model = frozen_of(engine)
    return Attribution(model, model.run(tokens, segments), target_id=target_id, distractor_id=distractor_id)


def assert_conserved(error: float, value: float, *terms: np.ndarray) -> None:
    """Within 1e-3 of the value; where terms of opposite sign all but cancel, within their rounding."""
    rounding = 1e-5 * sum(float(np.abs(term).sum()) for term in terms)
    assert abs(error) <= 1e-3 * abs(value) + rounding, f"{error} is missing from {value}"


def assert_incoming(found: Incoming) -> None:
    edges = found.edges
    assert_conserved(found.error, found.value, edges.embed, edges.heads, edges.mlps, edges.attn_bias)
    assert edges.total() + sum(found.biases.values()) + found.error == pytest.approx(found.value, abs=1e-9)


def assert_outgoing(found: Outgoing) -> None:
    assert_conserved(found.error, found.value, found.heads, found.mlps, np.array([found.logit]))


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


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
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


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("family", FAMILIES)
def test_edges_into_and_out_of_any_node_sum_to_its_value(tiny: Engines, family: str, data: st.DataObject) -> None:
    tokens = data.draw(st.lists(st.integers(0, D_VOCAB - 1), min_size=1, max_size=12), label="tokens")
    segments = data.draw(st.sampled_from([(), SEGMENTS]), label="segments")
    edges = Edges(attribute(tiny(family), tokens=tokens, segments=segments))
    layer = data.draw(st.integers(0, N_LAYERS - 1), label="layer")
    pos = data.draw(st.integers(0, len(tokens) - 1), label="pos")
    head = Node(kind="head", layer=layer, index=data.draw(st.integers(0, N_HEADS - 1)), pos=pos)
    others = (
        Node(kind="neuron", layer=layer, index=data.draw(st.integers(0, D_MLP - 1)), pos=pos),
        Node(kind="attn", layer=layer, pos=pos),
        Node(kind="mlp", layer=layer, pos=pos),
    )
    assert_incoming(edges.incoming(Node(kind="logit", pos=len(tokens) - 1)))
    key_pos = data.draw(st.integers(0, pos), label="key_pos")
    for part in ("value", "query", "key"):
        found = edges.incoming(head, part=part, key_pos=None if part == "value" else key_pos)
        assert_incoming(found)
        if part == "value":
            assert found.value == pytest.approx(
                float(edges.attribution.head_relevance(layer)[pos, head.index]), abs=1e-5
            )
    for node in (head, *others):
        assert_incoming(edges.incoming(node))
        assert_outgoing(edges.outgoing(node))
    assert_outgoing(edges.outgoing(Node(kind="embed", pos=pos)))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_edge_is_the_same_seen_from_both_ends(tiny: Engines, family: str) -> None:
    edges = Edges(attribute(tiny(family), segments=SEGMENTS))
    writer = Node(kind="head", layer=0, index=1, pos=5)
    fed = edges.outgoing(writer, n_neurons=D_MLP * N_LAYERS)
    for layer in (1, 2):
        for head in range(N_HEADS):
            into = edges.incoming(Node(kind="head", layer=layer, index=head, pos=LAST))
            assert into.edges.heads[0, 5, 1] == pytest.approx(fed.heads[layer, LAST, head], abs=1e-6)
    into = edges.incoming(Node(kind="mlp", layer=1, pos=5))
    assert into.edges.heads[0, 5, 1] == pytest.approx(fed.mlps[1], abs=1e-6)
    assert sum(entry.value for entry in fed.neurons) == pytest.approx(float(fed.mlps.sum()), abs=1e-5)
    named = {entry.node: entry.value for entry in fed.neurons}
    neuron = Node(kind="neuron", layer=2, index=3, pos=5)
    into = edges.incoming(neuron)
    assert into.edges.heads[0, 5, 1] == pytest.approx(named.get(neuron, 0.0), abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_score_parts_are_the_scores_that_the_pattern_came_from(tiny: Engines, family: str) -> None:
    """Softmax of the scores found, soft cap put on, is the pattern (of the keys the window lets through)."""
    engine = tiny(family)
    edges = Edges(attribute(engine))
    head = Node(kind="head", layer=1, index=2, pos=LAST)
    scores = torch.tensor([edges.incoming(head, part="query", key_pos=key).value for key in range(LAST + 1)])
    for key in (0, 4):
        assert edges.incoming(head, part="key", key_pos=key).value == pytest.approx(float(scores[key]), rel=1e-4)
    cap = 2.0 if family == "gemma2" else None
    capped = scores if cap is None else torch.tanh(scores / cap) * cap
    pattern = edges.run.layers[1].attention.pattern[0, 2, LAST]
    assert torch.allclose(torch.where(pattern > 0, capped, -torch.inf).softmax(-1), pattern, atol=1e-5)
    assert edges.incoming(head, part="key").key_pos == int(pattern.argmax())


@pytest.mark.parametrize("family", FAMILIES)
def test_direct_effects_are_those_of_the_reference(tiny: Engines, tiny_reference: References, family: str) -> None:
    found = Edges(attribute(tiny(family))).incoming(Node(kind="logit", pos=LAST), n_neurons=10_000).edges
    full = tiny_reference(family).run(PROMPT)
    direct = tiny_reference(family).direct(full, LAST, TARGET, DISTRACTOR)
    assert np.allclose(found.heads[:, LAST], direct["heads"], atol=2e-5)
    assert np.allclose(found.mlps[:, LAST], direct["mlps"], atol=2e-5)
    for entry in found.neurons[:40]:
        assert entry.value == pytest.approx(float(direct["neurons"][entry.node.layer, entry.node.index]), abs=2e-5)
    embed = found.embed[LAST] + (0.0 if found.pos_embed is None else found.pos_embed[LAST])
    assert embed == pytest.approx(float(direct["embed"]), abs=2e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("threshold", [0.05, 0.002])
def test_the_path_graph_says_what_flows_through_it(tiny: Engines, family: str, threshold: float) -> None:
    edges = Edges(attribute(tiny(family)))
    graph = strongest_paths(edges, threshold=threshold, max_nodes=200, n_paths=10)
    assert 2 <= len(graph.nodes) <= 200
    assert graph.tokens + graph.biases + graph.hidden == pytest.approx(graph.metric, abs=1e-5)
    values = {entry.node.node_id: entry.value for entry in graph.nodes}
    leaving: dict[str, float] = {}
    for edge in graph.edges:
        assert {edge.source, edge.target} <= set(values)
        leaving[edge.source] = leaving.get(edge.source, 0.0) + edge.weight
    for name, value in leaving.items():
        assert value == pytest.approx(values[name], abs=1e-4 + 1e-4 * abs(value))
    leaves = [value for name, value in values.items() if "embed" in name]
    assert sum(leaves) == pytest.approx(graph.tokens, abs=1e-5)
    drawn = {(edge.source, edge.target) for edge in graph.edges}
    for path in graph.paths:
        assert path.nodes[0].split("@")[0] in ("embed", "pos_embed")
        assert path.nodes[-1] == f"logit@{LAST}"
        assert all(step in drawn for step in zip(path.nodes, path.nodes[1:], strict=False))


def test_with_nothing_left_out_the_graph_shows_the_whole_metric_and_paths_sum_to_it(tiny: Engines) -> None:
    """Two tokens, so few nodes that all of them and every path can be had."""
    edges = Edges(attribute(tiny("qwen3"), tokens=[5, 100]))
    graph = strongest_paths(edges, threshold=1e-6, max_nodes=200, n_paths=0)
    assert graph.hidden == pytest.approx(0.0, abs=1e-3)
    assert graph.tokens == pytest.approx(graph.metric, abs=1e-3)
    assert graph.shown > 0.99


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


def test_the_strongest_writers_are_named_in_order(tiny: Engines) -> None:
    edges = Edges(attribute(tiny("gpt2"))).incoming(Node(kind="head", layer=2, index=1, pos=LAST)).edges
    named = edges.strongest(10_000)
    assert sum(entry.value for entry in named) == pytest.approx(edges.total(), abs=1e-5)
    assert {entry.node.kind for entry in named} == {"embed", "pos_embed", "head", "attn_bias", "mlp"}
    sizes = [abs(entry.value) for entry in named]
    assert sizes == sorted(sizes, reverse=True)
    assert edges.strongest(3) == named[:3]


@pytest.mark.parametrize("family", FAMILIES)
def test_integrated_gradients_are_complete_and_say_by_how_much_not(tiny: Engines, family: str) -> None:
    model = frozen_of(tiny(family))
    run = model.run(PROMPT)
    found = integrated_gradients(model, run, target_id=TARGET, distractor_id=DISTRACTOR, max_steps=256)
    change = found.metric - found.baseline_metric
    assert float(found.tokens.sum()) + found.error == pytest.approx(change, abs=1e-4)
    assert abs(found.error) <= 1e-4 * abs(change)
    assert 0 < found.placed <= 0.011 * abs(change)
    assert found.metric == pytest.approx(attribute(tiny(family)).metric, rel=1e-4)


def test_integrated_gradients_equal_a_fine_riemann_sum(tiny: Engines) -> None:
    """The definition, step by step, without the code's batches and adaptive pieces."""
    model = frozen_of(tiny("gpt2"))
    run = model.run(PROMPT)
    found = integrated_gradients(model, run, target_id=TARGET, distractor_id=None, max_steps=129, baseline="zero")
    direction, _ = model.direction(TARGET, None)
    positional = run.positional
    assert positional is not None
    tokens = run.stream.detach()[0] - positional
    total = torch.zeros(len(PROMPT))
    for step in range(400):
        leaf = (tokens * ((step + 0.5) / 400) + positional)[None].requires_grad_()
        (model.plain(lambda stream, leaf=leaf: leaf, PROMPT, run.edits, 1)[0][0, -1] @ direction).backward()
        assert leaf.grad is not None
        total += (leaf.grad[0] * tokens).sum(-1) / 400
    assert np.allclose(found.tokens, total, atol=2e-2 * float(total.abs().max()))


def test_integrated_gradients_are_captums(tiny: Engines) -> None:
    """Where the metric is smooth on the way and Captum's fixed points suffice: a tiny random model."""
    model = frozen_of(tiny("gpt2"))
    run = model.run(PROMPT)
    found = integrated_gradients(model, run, target_id=TARGET, distractor_id=DISTRACTOR, max_steps=257, tolerance=1e-3)
    transformer, table = tiny("gpt2").model, tiny("gpt2").model.get_input_embeddings().weight.detach()

    def metric(embeddings: torch.Tensor) -> torch.Tensor:
        logits = transformer(inputs_embeds=embeddings, use_cache=False).logits[:, -1]
        return logits[:, TARGET] - logits[:, DISTRACTOR]

    embeddings = table[PROMPT][None]
    attributed, delta = CaptumIntegratedGradients(metric).attribute(
        embeddings,
        baselines=table.mean(0).expand_as(embeddings),
        n_steps=256,
        method="gausslegendre",
        internal_batch_size=32,
        return_convergence_delta=True,
    )
    change = found.metric - found.baseline_metric
    assert abs(float(delta)) < 1e-2 * abs(change)
    theirs = attributed.sum(-1)[0].detach().numpy()
    assert found.tokens == pytest.approx(theirs, abs=1e-2 * float(np.abs(theirs).max()))


def test_few_gradients_and_the_metric_between_them_come_nearer_than_the_gradients_alone(tiny: Engines) -> None:
    """What Simpson's rule misses, placed by the slopes: against ten times as many gradients."""
    model = frozen_of(tiny("llama"))
    run = model.run(PROMPT)
    fine = integrated_gradients(model, run, target_id=TARGET, distractor_id=None, max_steps=257, tolerance=1e-6)
    few = integrated_gradients(model, run, target_id=TARGET, distractor_id=None, max_steps=25, tolerance=1e-6)
    assert few.n_steps == 25 and fine.n_steps > 100
    assert few.placed > 10 * fine.placed
    assert abs(few.error) < 1e-4 * few.placed + 1e-6
    assert np.abs(few.tokens - fine.tokens).max() < few.placed


def test_a_jump_between_gradients_is_placed_along_its_slope() -> None:
    """Three points about a jump of 5 of which token 1 has four fifths: Simpson's rule has any size for it."""
    jump = torch.tensor([1.0, 4.0], dtype=torch.float64)
    points = [relevance._Point(x, metric, slope * jump) for x, metric, slope in ((0, 0, 0), (0.5, 2, 90), (1, 5, 0))]
    piece = relevance._Piece(*points)
    assert float(piece.simpson().sum()) == pytest.approx(300)
    assert piece.integral().tolist() == pytest.approx([1.0, 4.0])
    still = relevance._Piece(*(relevance._Point(x, 7.0, 0 * jump) for x in (0, 0.5, 1)))
    assert still.integral().tolist() == [0.0, 0.0]


def test_gradient_x_input_is_the_plain_gradient(tiny: Engines) -> None:
    engine = tiny("qwen2")
    model = frozen_of(engine)
    found = gradient_x_input(model, model.run(PROMPT), target_id=TARGET, distractor_id=DISTRACTOR)
    embeddings = engine.model.get_input_embeddings()(torch.tensor([PROMPT])).detach().requires_grad_()
    logits = engine.model(inputs_embeds=embeddings, use_cache=False).logits[0, -1]
    (logits[TARGET] - logits[DISTRACTOR]).backward()
    assert embeddings.grad is not None
    assert np.allclose(found, (embeddings.grad * embeddings).sum(-1)[0].detach(), rtol=1e-3, atol=1e-5)


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


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("L3H0@1", "layers 0 to 2"),
        ("L0H4@1", "heads 0 to 3"),
        ("L0N40@1", "neurons 0 to 39"),
        ("L0.mlp@9", "tokens 0 to 8"),
        ("logit@4", "logit@8"),
        ("embed@3", "nothing feeds"),
        ("pos_embed@3", "no positional"),
    ],
)
def test_a_node_outside_the_run_is_refused_with_the_limit(tiny: Engines, name: str, text: str) -> None:
    edges = Edges(attribute(tiny("llama")))
    with pytest.raises(AttributionError, match=text):
        edges.incoming(parse_node(name))


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
