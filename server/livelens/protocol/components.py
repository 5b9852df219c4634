"""Component ids (`L12H3`, `L7N1404`, `L5.attn`, `L5.mlp`): written, read, and checked against a model."""

from __future__ import annotations

import re

from livelens.protocol.messages import Component, ModelInfo

_ID = re.compile(r"L(?P<layer>\d{1,9})(?:H(?P<head>\d{1,9})|N(?P<neuron>\d{1,9})|\.(?P<whole>attn|mlp))", re.ASCII)


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
