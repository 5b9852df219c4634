"""Component ids round-trip, and a component is accepted exactly when the model has it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelens.protocol.codec import decode_command, encode_command
from livelens.protocol.components import (
    NodePlace,
    check_component,
    check_node,
    component_id,
    node_id,
    parse_component,
    parse_node,
)
from livelens.protocol.messages import Capabilities, Component, MetricQuestion, ModelInfo, RequestAttribution

INFO = ModelInfo(
    "m", "a", 4, 3, 1, 12, 4, 7, 100, 64, "float32", "", Capabilities([], [], ["head", "neuron", "attn", "mlp"])
)
KINDS = st.sampled_from(["head", "neuron", "attn", "mlp"])


@given(KINDS, st.integers(0, 10**6), st.integers(0, 10**6))
def test_an_id_names_its_component(kind: str, layer: int, index: int) -> None:
    """Written and read back."""
    component = Component(kind, layer, index if kind in ("head", "neuron") else 0)
    assert parse_component(component_id(component)) == component


@pytest.mark.parametrize(
    "text", ["", "L1", "H3", "L-1H3", "L1H-3", "L1.5H3", "L1H3 x", "l1h3", "L1H٣", "L1.embed", "L1:2H3"]
)
def test_what_names_no_component_is_refused(text: str) -> None:
    """The answer shows how ids are written."""
    with pytest.raises(ValueError, match="L12H3"):
        parse_component(text)


@given(KINDS, st.integers(-5, 10), st.integers(-5, 10))
def test_a_component_is_accepted_exactly_when_it_exists(kind: str, layer: int, index: int) -> None:
    """Negative numbers never mean 'from the end'."""
    size = {"head": 3, "neuron": 7, "attn": 1, "mlp": 1}[kind]
    exists = 0 <= layer < 4 and 0 <= index < size
    if exists:
        check_component(Component(kind, layer, index), INFO)
    else:
        with pytest.raises(ValueError, match=r"0 to|must be 0"):
            check_component(Component(kind, layer, index), INFO)


@given(
    st.one_of(KINDS, st.sampled_from(["embed", "logit"])), st.integers(0, 99), st.integers(0, 99), st.integers(0, 10**6)
)
def test_a_node_id_names_its_node(kind: str, layer: int, index: int, pos: int) -> None:
    """Written and read back; the wire's own pattern takes it, too."""
    is_part = kind in ("embed", "logit")
    part = kind if is_part else Component(kind, layer, index if kind in ("head", "neuron") else 0)
    node = NodePlace(part, pos)
    assert parse_node(node_id(node)) == node
    question = RequestAttribution(request_id=1, run_id="r", metric=MetricQuestion(pos), node=node_id(node))
    assert decode_command(encode_command(question)) == question


@pytest.mark.parametrize(
    "text", ["", "L1H3", "@3", "L1H3@", "L1H3@-1", "L1H3@1.5", "embed", "EMBED@1", "L1H3@1@2", "L1@3", "logit@٣"]
)
def test_what_names_no_node_is_refused(text: str) -> None:
    """The answer shows how ids are written."""
    with pytest.raises(ValueError, match="L12H3@37"):
        parse_node(text)


@given(KINDS, st.integers(0, 10), st.integers(0, 10), st.integers(0, 10))
def test_a_node_is_accepted_exactly_when_model_and_run_have_it(kind: str, layer: int, index: int, pos: int) -> None:
    """Five positions were computed."""
    size = {"head": 3, "neuron": 7, "attn": 1, "mlp": 1}[kind]
    if layer < 4 and index < size and pos < 5:
        check_node(NodePlace(Component(kind, layer, index), pos), INFO, 5)
    else:
        with pytest.raises(ValueError, match=r"0 to|must be 0"):
            check_node(NodePlace(Component(kind, layer, index), pos), INFO, 5)
