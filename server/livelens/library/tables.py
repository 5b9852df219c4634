"""Steps and answers as pandas tables; pandas is imported when a table is made."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from functools import singledispatch
from types import ModuleType
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
from numpy.typing import NDArray

from livelens.client import LivelensError, StepData
from livelens.client.answers import Effects, Patching, TokenRelevance, Values
from livelens.protocol.components import component_id
from livelens.protocol.messages import AttributionReady, Component, Edge, HeadScoresReady, PathsReady

if TYPE_CHECKING:
    from pandas import DataFrame

Channels = Literal["heads", "neurons", "residual"]
_EDGE: Final = ("writer", "reader", "part", "weight")
_SITES: Final = ("resid_pre", "attn_out", "mlp_out")
_SCORES: Final = ("previous_token", "duplicate_token", "induction", "copying")
Tabular = AttributionReady | PathsReady | Effects | Patching | TokenRelevance | HeadScoresReady | Values


def pandas() -> ModuleType:
    """The module, or LivelensError with the extra that brings it."""
    try:
        return importlib.import_module("pandas")
    except ImportError as error:
        message = 'tables need pandas, which comes with an extra: pip install "livelens[notebook]"'
        raise LivelensError("not_installed", message) from error


def tokens_table(steps: Sequence[StepData]) -> DataFrame:
    """One row a position: the token there, what followed it and how likely that was."""
    infos = [step.info for step in steps]
    columns = ("token_id", "text", "chosen_id", "chosen_text", "generated", "logprob", "entropy", "revision")
    rows = {name: [getattr(info, name) for info in infos] for name in columns}
    table: DataFrame = pandas().DataFrame(rows, index=_positions(steps))
    return table


def components_table(steps: Sequence[StepData], channel: Channels) -> DataFrame:
    """Components by positions, float32: rows `L12H3`, `L7N1404`, or the layer boundary of the stream."""
    values = np.stack([getattr(step, channel) for step in steps])
    names: list[str] | list[int]
    if channel == "residual":
        names = list(range(values.shape[1]))
    else:
        letter = {"heads": "H", "neurons": "N"}[channel]
        names = [f"L{layer}{letter}{index}" for layer in range(values.shape[1]) for index in range(values.shape[2])]
    index = pandas().Index(names, name="component" if channel != "residual" else "boundary")
    table: DataFrame = pandas().DataFrame(values.reshape(len(steps), -1).T, index=index, columns=_positions(steps))
    return table


@singledispatch
def answer_table(answer: object) -> DataFrame:
    """What an answer lists, a row each, as it was ordered; raises LivelensError where it lists nothing."""
    raise LivelensError("no_table", f"{type(answer).__name__} is no table: read its arrays")


@answer_table.register(AttributionReady)
def _(answer: AttributionReady) -> DataFrame:
    rows = [_edge(edge) for part in answer.parts for edge in part.edges]
    for part in answer.parts:
        left_out = (("(rest)", part.rest), ("(bias)", part.bias), ("(error)", part.error))
        rows += [
            {"writer": name, "reader": answer.node, "part": part.part, "weight": value} for name, value in left_out
        ]
    return _table(rows, _EDGE)


@answer_table.register(PathsReady)
def _(answer: PathsReady) -> DataFrame:
    return _table([_edge(edge) for edge in answer.edges], _EDGE)


@answer_table.register(Effects)
def _(answer: Effects) -> DataFrame:
    columns = {"effect": answer.effects, "prob": answer.probs}
    if answer.attributed is not None:
        columns["attributed"] = answer.attributed
    return _by_component(columns, answer.components)


@answer_table.register(Values)
def _(answer: Values) -> DataFrame:
    table = _by_component(answer.values, answer.components)
    return table.set_axis(pandas().Index(answer.positions, name="pos"), axis=1)


@answer_table.register(Patching)
def _(answer: Patching) -> DataFrame:
    """What each place restores."""
    sites: dict[str, NDArray[np.float32]] = {name: getattr(answer, name) for name in _SITES}
    rows: list[dict[str, object]] = [
        {"site": name, "layer": layer, "pos": pos, "token": token, "restored": float(values[layer, pos])}
        for name, values in sites.items()
        for layer in range(values.shape[0])
        for pos, token in enumerate(answer.clean_tokens)
    ]
    return _table(rows, ("site", "layer", "pos", "token", "restored"))


@answer_table.register(TokenRelevance)
def _(answer: TokenRelevance) -> DataFrame:
    return _table([{"pos": pos, "relevance": value} for pos, value in enumerate(answer.tokens)], ("pos", "relevance"))


@answer_table.register(HeadScoresReady)
def _(answer: HeadScoresReady) -> DataFrame:
    rows = [
        {"head": f"L{score.layer}H{score.head_index}", **{name: getattr(score, name) for name in _SCORES}}
        for score in answer.scores
    ]
    return _table(rows, ("head", *_SCORES)).set_index("head")


def _by_component(values: object, components: Sequence[Component]) -> DataFrame:
    index = pandas().Index([component_id(component) for component in components], name="component")
    table: DataFrame = pandas().DataFrame(values, index=index)
    return table


def _edge(edge: Edge) -> dict[str, object]:
    return {"writer": edge.writer, "reader": edge.reader, "part": edge.part, "weight": edge.weight}


def _table(rows: Sequence[dict[str, object]], columns: Sequence[str]) -> DataFrame:
    table: DataFrame = pandas().DataFrame(list(rows), columns=list(columns))
    return table


def _positions(steps: Sequence[StepData]) -> object:
    return pandas().Index([step.pos for step in steps], name="pos")
