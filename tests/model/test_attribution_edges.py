"""Edges and paths of the linearised run: conserved at every node, the same from both ends."""

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
    PROMPT,
    SEGMENTS,
    TARGET,
    Engines,
    References,
    assert_incoming,
    assert_outgoing,
    attribute,
)
from tests.model.families import D_MLP, D_VOCAB, FAMILIES, N_HEADS, N_LAYERS

from livelens.analysis.edges import Edges
from livelens.analysis.nodes import AttributionError, Node, parse_node
from livelens.analysis.paths import strongest_paths

pytestmark = pytest.mark.usefixtures("one_thread")


@settings(max_examples=12, deadline=None, suppress_health_check=CHECKS_OFF)
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


def test_the_strongest_writers_are_named_in_order(tiny: Engines) -> None:
    edges = Edges(attribute(tiny("gpt2"))).incoming(Node(kind="head", layer=2, index=1, pos=LAST)).edges
    named = edges.strongest(10_000)
    assert sum(entry.value for entry in named) == pytest.approx(edges.total(), abs=1e-5)
    assert {entry.node.kind for entry in named} == {"embed", "pos_embed", "head", "attn_bias", "mlp"}
    sizes = [abs(entry.value) for entry in named]
    assert sizes == sorted(sizes, reverse=True)
    assert edges.strongest(3) == named[:3]


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
