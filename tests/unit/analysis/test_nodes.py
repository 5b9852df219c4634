"""Node ids, read and written."""

from __future__ import annotations

import pytest

from livelens.analysis.nodes import AttributionError, Node, parse_node

IDS = {
    "L12H3@37": Node(kind="head", layer=12, index=3, pos=37),
    "L7N1404@12": Node(kind="neuron", layer=7, index=1404, pos=12),
    "L5.mlp@12": Node(kind="mlp", layer=5, pos=12),
    "L5.attn@0": Node(kind="attn", layer=5, pos=0),
    "L5.attn_bias@2": Node(kind="attn_bias", layer=5, pos=2),
    "embed@3": Node(kind="embed", pos=3),
    "pos_embed@3": Node(kind="pos_embed", pos=3),
    "logit@14": Node(kind="logit", pos=14),
}


@pytest.mark.parametrize(("text", "node"), IDS.items())
def test_ids_round_trip(text: str, node: Node) -> None:
    assert parse_node(text) == node
    assert node.node_id == text


@pytest.mark.parametrize("text", ["", "L12H3", "L-1H0@2", "L1H2@-3", "head@3", "L1Q2@3", "embed", "L1H2@3@4", "L١H2@3"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(AttributionError, match="names no node"):
        parse_node(text)
