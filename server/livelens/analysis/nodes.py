"""Nodes of attribution: components at one token of one run, and the ids people read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

NodeKind = Literal["embed", "pos_embed", "head", "neuron", "attn", "mlp", "attn_bias", "bias", "logit"]
Part = Literal["value", "query", "key"]

_ID = re.compile(
    r"(?:(?P<whole>embed|pos_embed|logit)"
    r"|L(?P<layer>\d{1,9})(?:H(?P<head>\d{1,9})|N(?P<neuron>\d{1,9})|\.(?P<sub>attn_bias|attn|mlp)))"
    r"@(?P<pos>\d{1,9})",
    re.ASCII,
)


class AttributionError(ValueError):
    """An attribution that was asked for cannot be given; the text says the limit and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One component at one token. `layer` and `index` are 0 where the kind has none."""

    kind: NodeKind
    pos: int
    layer: int = 0
    index: int = 0

    @property
    def node_id(self) -> str:
        """`L12H3@37`, `L7N1404@12`, `L5.mlp@12`, `L5.attn@12`, `L5.attn_bias@12`, `embed@3`, `logit@14`, `bias@14`."""
        match self.kind:
            case "head":
                return f"L{self.layer}H{self.index}@{self.pos}"
            case "neuron":
                return f"L{self.layer}N{self.index}@{self.pos}"
            case "attn" | "mlp" | "attn_bias":
                return f"L{self.layer}.{self.kind}@{self.pos}"
            case _:
                return f"{self.kind}@{self.pos}"


def parse_node(text: str) -> Node:
    """The node that `text` names; raises AttributionError when it names none."""
    match = _ID.fullmatch(text.strip())
    if match is None:
        raise AttributionError(
            f"{text!r} names no node: write L12H3@37, L7N1404@12, L5.mlp@12, L5.attn@12, embed@3 or logit@14"
        )
    pos = int(match["pos"])
    kinds: dict[str, NodeKind] = {
        "embed": "embed", "pos_embed": "pos_embed", "logit": "logit", "attn": "attn", "mlp": "mlp",
        "attn_bias": "attn_bias",
    }  # fmt: skip
    if match["whole"] is not None:
        return Node(kind=kinds[match["whole"]], pos=pos)
    layer = int(match["layer"])
    if match["head"] is not None:
        return Node(kind="head", layer=layer, index=int(match["head"]), pos=pos)
    if match["neuron"] is not None:
        return Node(kind="neuron", layer=layer, index=int(match["neuron"]), pos=pos)
    return Node(kind=kinds[match["sub"]], layer=layer, pos=pos)
