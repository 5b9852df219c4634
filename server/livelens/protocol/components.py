"""Component ids (`L12H3`, `L7N1404`, `L5.attn`, `L5.mlp`): written, read, and checked against a model.

And node ids (`L12H3@37`, `embed@3`, `logit@14`): components, the input or the metric, at one token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from livelens.protocol.messages import Component, ModelInfo

_ID = re.compile(r"L(?P<layer>\d{1,9})(?:H(?P<head>\d{1,9})|N(?P<neuron>\d{1,9})|\.(?P<whole>attn|mlp))", re.ASCII)

_NODE = re.compile(r"(?P<part>[^@]{1,24})@(?P<pos>\d{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class NodePlace:
    """What a node id names: a component, the token's embedding or the metric, at position `pos`."""

    part: Component | Literal["embed", "logit"]
    pos: int


def component_id(component: Component) -> str:
    """The id people read: `L12H3`, `L7N1404`, `L5.attn`, `L5.mlp`."""
    match component.kind:
        case "head":
            return f"L{component.layer}H{component.index}"
        case "neuron":
            return f"L{component.layer}N{component.index}"
        case whole:
            return f"L{component.layer}.{whole}"


def parse_component(text: str) -> Component:
    """The component that `text` names; raises ValueError when it names none."""
    match = _ID.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} names no component: write L12H3, L7N1404, L5.attn or L5.mlp")
    layer = int(match["layer"])
    if match["head"] is not None:
        return Component(kind="head", layer=layer, index=int(match["head"]))
    if match["neuron"] is not None:
        return Component(kind="neuron", layer=layer, index=int(match["neuron"]))
    return Component(kind="attn" if match["whole"] == "attn" else "mlp", layer=layer)


def check_component(component: Component, model_info: ModelInfo) -> None:
    """Raise ValueError, naming the limit, unless the model has this component.

    Checked here because the layers below would not: a negative head is Python's last head, and a
    slice past the end is nothing at all.
    """
    if not 0 <= component.layer < model_info.n_layers:
        raise ValueError(
            f"layer {component.layer} does not exist: this model has layers 0 to {model_info.n_layers - 1}"
        )
    if component.kind not in model_info.capabilities.component_kinds:
        raise ValueError(f"this model cannot intervene on {component.kind!r}")
    sizes = {"head": model_info.n_heads, "neuron": model_info.d_mlp, "attn": 1, "mlp": 1}
    size = sizes[component.kind]
    if not 0 <= component.index < size:
        if size == 1:
            raise ValueError(f"{component.kind} is a whole layer: its index must be 0, got {component.index}")
        raise ValueError(
            f"{component.kind} {component.index} does not exist: each layer has {component.kind}s 0 to {size - 1}"
        )


def node_id(node: NodePlace) -> str:
    """The id people read: `L12H3@37`, `L5.mlp@12`, `embed@3`, `logit@14`."""
    part = component_id(node.part) if isinstance(node.part, Component) else node.part
    return f"{part}@{node.pos}"


def parse_node(text: str) -> NodePlace:
    """The node that `text` names; raises ValueError when it names none."""
    match = _NODE.fullmatch(text.strip())
    help_text = f"{text!r} names no node: write L12H3@37, L7N1404@12, L5.mlp@12, embed@3 or logit@14"
    if match is None:
        raise ValueError(help_text)
    pos = int(match["pos"])
    if match["part"] in ("embed", "logit"):
        return NodePlace("embed" if match["part"] == "embed" else "logit", pos)
    try:
        return NodePlace(parse_component(match["part"]), pos)
    except ValueError as error:
        raise ValueError(help_text) from error


def check_node(node: NodePlace, model_info: ModelInfo, n_positions: int) -> None:
    """Raise ValueError, naming the limit, unless the model has this component and the run this position."""
    if not 0 <= node.pos < n_positions:
        raise ValueError(f"{node_id(node)} is outside the run: it has positions 0 to {n_positions - 1}")
    if isinstance(node.part, Component):
        check_component(node.part, model_info)
