"""What a scene says beside the picture, as HTML: everything that comes from a model is escaped."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Final

import numpy as np

from livelens.client import StepData
from livelens.protocol.attribution import AttributionPart
from livelens.protocol.components import component_id
from livelens.protocol.messages import AttributionReady, Component

_TOKENS_BEFORE: Final = 10
_ROWS: Final = 8
_MONO: Final = "font-family:var(--jp-code-font-family,monospace)"


def token_text(text: str) -> str:
    """A token that can be seen: white space drawn, nothing that could turn the line round."""
    shown = text.replace("\n", "\u23ce").replace("\t", "\u21e5")
    shown = "".join(letter for letter in shown if letter.isprintable())
    return shown if shown.strip() else "\u2423" * max(1, len(shown))


def header(step: StepData | None, tokens: Mapping[int, str]) -> str:
    """The text up to the shown token, and what was predicted there."""
    if step is None:
        return "<i>Nothing was generated yet: view.generate(...)</i>"
    before = [escape(token_text(tokens[pos])) for pos in range(step.pos - _TOKENS_BEFORE, step.pos) if pos in tokens]
    now = f"<b style='background:#3566d6;color:#fff;padding:0 3px'>{escape(token_text(step.text))}</b>"
    best = [f"{escape(token_text(one.text))}&nbsp;{one.prob:.2f}" for one in step.info.top_tokens[:3]]
    next_tokens = f" &rarr; {', '.join(best)}" if best else ""
    return f"<div style='{_MONO};white-space:pre;overflow:hidden'>{''.join(before)}{now} @{step.pos}{next_tokens}</div>"


def value_of(step: StepData, component: Component) -> tuple[float, str] | None:
    """What a component did at a step, and what that number is; none where its channel was not captured."""
    layer, index = component.layer, component.index
    match component.kind:
        case "neuron" if "neurons" in step.tensors:
            return float(step.neurons[layer, index]), "activation"
        case "head" if "heads" in step.tensors:
            return float(step.heads[layer, index]), "norm of what it writes"
        case "attn" | "mlp" as kind if f"{kind}_out" in step.tensors:
            return float(step.tensor(f"{kind}_out").astype(np.float64)[layer]), "norm of what it writes"
        case _:
            return None


def component_line(component: Component, step: StepData | None, *, is_ablated: bool) -> str:
    """Name, value at the shown token, and whether it is taken away."""
    value = value_of(step, component) if step is not None else None
    said = "not captured" if value is None else f"{value[0]:.4g} <small>({value[1]})</small>"
    at = "" if step is None else f" @{step.pos}"
    gone = " &mdash; <b>ablated</b>" if is_ablated else ""
    return f"<b style='{_MONO}'>{component_id(component)}{at}</b>: {said}{gone}"


def node_line(node: int, step: StepData | None) -> str:
    """The residual stream at one of its nodes."""
    where = "before layer 0" if node == 0 else f"after layer {node - 1}"
    if step is None or "residual" not in step.tensors:
        return f"<b>residual stream</b> {where}"
    return f"<b>residual stream</b> {where} @{step.pos}: {float(step.residual[node]):.4g} <small>(norm)</small>"


def attribution_table(answer: AttributionReady) -> str:
    """What a node contributes to the metric and who fed it, strongest first; each way in has a table of its own."""
    metric = answer.metric
    against = "the mean" if metric.distractor_text is None else f"\u201c{token_text(metric.distractor_text)}\u201d"
    towards = escape(f"\u201c{token_text(metric.target_text)}\u201d over {against}")
    said = (
        f"<b style='{_MONO}'>{escape(answer.node)}</b> gives {answer.relevance:+.3f} logits to {towards}. What fed it:"
    )
    return f"<div>{said}</div>" + "".join(_part(part) for part in answer.parts)


def _part(part: AttributionPart) -> str:
    rows = "".join(
        f"<tr><td style='{_MONO};text-align:left'>{escape(edge.writer)}</td>"
        f"<td style='text-align:right'>{edge.weight:+.3f}</td></tr>"
        for edge in part.edges[:_ROWS]
    )
    left = len(part.edges) - _ROWS + part.n_rest
    rest = f"<tr><td style='text-align:left'>{left} more</td><td></td></tr>" if left > 0 else ""
    title = f"{part.part} {part.value:+.3f}"
    return (
        f"<table style='display:inline-table;margin-right:2em'><tr><th colspan=2>{title}</th></tr>{rows}{rest}</table>"
    )
