"""Every operation on every component it fits: as an InterventionSpec, and written out by hand in plain torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from tests.model.hand_hooks import Seen
from torch import Tensor

from livelens.protocol.messages import (
    AttentionEdit,
    Component,
    InterventionSpec,
    Positions,
    Reference,
    StreamPlace,
)

# What happens at a place at every position; at which of them it counts is decided elsewhere. [n, width] in and out.
ByHand = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class World:
    """What the cases need of a model: its middle layer, two heads and a neuron in it; a direction, two other texts."""

    layer: int
    n_layers: int
    d_head: int
    heads: tuple[int, int]
    neuron: int
    direction: Tensor
    texts: tuple[str, str]
    seen: tuple[Seen, Seen]  # what the two texts compute, no intervention in force


@dataclass(frozen=True, kw_only=True)
class Case:
    """`spec` at its default positions, and the same by hand: by place, and where the reference ends, until when."""

    spec: InterventionSpec
    hands: dict[tuple[str, int], ByHand]
    ends_at: int | None = None


@dataclass
class _Cases:
    world: World
    made: dict[str, Case] = field(default_factory=dict)

    def add(
        self,
        name: str,
        operation: str,
        components: list[Component],
        hands: dict[tuple[str, int], ByHand],
        *,
        ends_at: int | None = None,
        **fields: object,
    ) -> None:
        spec = InterventionSpec(name, operation, components, **fields)  # type: ignore[arg-type]
        self.made[name] = Case(spec=spec, hands=hands, ends_at=ends_at)


def cases(world: World) -> dict[str, Case]:
    """All of them, by name."""
    made = _Cases(world)
    _factors(made)
    _references(made)
    _values(made)
    _streams(made)
    _rows(made)
    return made.made


def at_positions(case: Case, intervention_id: str, positions: Positions) -> InterventionSpec:
    """The case's intervention at other positions."""
    spec = case.spec
    return InterventionSpec(
        intervention_id, spec.operation, spec.components, spec.amount, True, positions, spec.reference,
        spec.direction_id, spec.unit, spec.stream, spec.attention,
    )  # fmt: skip


def _put(x: Tensor, columns: slice, value: Tensor | float) -> Tensor:
    x = x.clone()
    x[:, columns] = value
    return x


def _head(world: World, head: int) -> slice:
    return slice(head * world.d_head, (head + 1) * world.d_head)


def _components(world: World) -> list[tuple[str, Component, tuple[str, int], slice]]:
    layer, head = world.layer, world.heads[0]
    return [
        ("head", Component("head", layer, head), ("z", layer), _head(world, head)),
        ("neuron", Component("neuron", layer, world.neuron), ("neurons", layer), slice(world.neuron, world.neuron + 1)),
        ("attn", Component("attn", layer), ("attn", layer), slice(None)),
        ("mlp", Component("mlp", layer), ("mlp", layer), slice(None)),
    ]


def _factors(made: _Cases) -> None:
    for kind, component, place, columns in _components(made.world):
        made.add(f"zero {kind}", "zero", [component], {place: lambda x, at=columns: _put(x, at, 0.0)})
        made.add(
            f"scale {kind}",
            "scale",
            [component],
            {place: lambda x, at=columns: _put(x, at, x[:, at] * -1.5)},
            amount=-1.5,
        )


def _seen_at(seen: Seen, place: tuple[str, int]) -> Tensor:
    return {"z": seen.z, "neurons": seen.neurons, "attn": seen.attn, "mlp": seen.mlp}[place[0]][place[1]]


def _references(made: _Cases) -> None:
    world = made.world
    longest = max(len(one.logits) for one in world.seen)
    for kind, component, place, columns in _components(world):
        values = [_seen_at(one, place)[:, columns] for one in world.seen]
        pooled = torch.cat(values).double().mean(0).float()
        rows = [torch.stack([v[i] for v in values if i < len(v)]).mean(0) for i in range(longest)]
        by_position = torch.stack(rows)
        both = list(world.texts)
        made.add(
            f"mean {kind}", "mean", [component], {place: lambda x, at=columns, v=pooled: _put(x, at, v)},
            reference=Reference("text", both),
        )  # fmt: skip
        made.add(
            f"mean {kind} by position", "mean", [component],
            {place: lambda x, at=columns, v=by_position: _put(x, at, _stretched(v, len(x)))},
            reference=Reference("text", both, pooled=False), ends_at=longest,
        )  # fmt: skip
        made.add(
            f"resample {kind}", "resample", [component],
            {place: lambda x, at=columns, v=values[0]: _put(x, at, _stretched(v, len(x)))},
            reference=Reference("text", both[:1]), ends_at=len(values[0]),
        )  # fmt: skip
        made.add(
            f"resample {kind} at a position", "resample", [component],
            {place: lambda x, at=columns, v=values[1][2]: _put(x, at, v)},
            reference=Reference("text", both[1:], pos=2),
        )  # fmt: skip


def _stretched(values: Tensor, n: int) -> Tensor:
    """As long as the run; what is past the reference's end is never used."""
    return torch.cat([values, values[-1:].expand(max(0, n - len(values)), -1)])[:n]


def _values(made: _Cases) -> None:
    world = made.world
    neuron, direction = slice(world.neuron, world.neuron + 1), world.direction
    place = ("neurons", world.layer)
    components = [Component("neuron", world.layer, world.neuron)]
    made.add("set neuron", "set", components, {place: lambda x: _put(x, neuron, 2.5)}, amount=2.5)
    for kind in ("attn", "mlp"):
        made.add(
            f"set {kind}", "set", [Component(kind, world.layer)],
            {(kind, world.layer): lambda x: _put(x, slice(None), 0.75 * direction)}, amount=0.75, direction_id="d",
        )  # fmt: skip


def _streams(made: _Cases) -> None:
    world = made.world
    direction = world.direction
    unit = direction / direction.norm()
    after, last = ("resid", world.layer + 1), ("resid", world.n_layers)
    here = [StreamPlace(world.layer)]
    made.add(
        "add direction", "add_direction", [], {after: lambda x: x + 1.5 * direction}, amount=1.5, direction_id="d",
        stream=here,
    )  # fmt: skip
    made.add(
        "add direction before the first layer", "add_direction", [], {("resid", 0): lambda x: x - 0.5 * unit},
        amount=-0.5, direction_id="d", unit="norm", stream=[StreamPlace(0, "resid_pre")],
    )  # fmt: skip
    made.add(
        "add direction of the stream's length", "add_direction", [],
        {after: lambda x: x + 0.25 * x.norm(dim=-1, keepdim=True) * unit}, amount=0.25, direction_id="d", unit="stream",
        stream=here,
    )  # fmt: skip
    made.add(
        "project out", "project_out", [],
        {place: lambda x: x - (x @ unit)[:, None] * unit for place in (after, last)}, direction_id="d",
        stream=[StreamPlace(world.layer), StreamPlace(world.n_layers - 1)],
    )  # fmt: skip


def _rows(made: _Cases) -> None:
    world = made.world
    heads = [Component("head", world.layer, head) for head in world.heads]
    place = ("pattern", world.layer)

    def row_by_row(new_row: Callable[[Tensor, int], Tensor]) -> dict[tuple[str, int], ByHand]:
        def hand(pattern: Tensor) -> Tensor:
            pattern = pattern.clone()
            for head in world.heads:
                for query in range(pattern.shape[1]):
                    pattern[head, query] = new_row(pattern[head, query], query)
            return pattern

        return {place: hand}

    def knocked_out(row: Tensor, query: int, *, renormalises: bool) -> Tensor:
        kept = row.clone()
        for key in (1, 4):
            if key <= query:
                kept[key] = 0
        return kept * (row.sum() / kept.sum()) if renormalises and kept.sum() > 0 else kept

    def set_to(row: Tensor, query: int, *, rest: str, renormalises: bool = True) -> Tensor:
        weights = {key: weight for key, weight in ((1, 0.25), (4, 0.5)) if key <= query}
        total = sum(weights.values())
        if not total:
            return row
        new = row.clone() if rest == "scaled" else torch.zeros_like(row)
        for key in weights:
            new[key] = 0
        if rest == "scaled" and new.sum() > 0:
            new = new * (1 - total) / new.sum()
            total = 1.0
        for key, weight in weights.items():
            new[key] = weight / total if rest == "scaled" or renormalises else weight
        return new

    def turned(row: Tensor, query: int, *, sources: tuple[int, ...] | None) -> Tensor:
        shares = {key: weight for key, weight in ((1, 0.25), (4, 0.5)) if key <= query}
        if not shares:
            return row
        sources = tuple(range(len(row))) if sources is None else tuple(k for k in sources if k < len(row))
        moved, new = float(sum(row[key] for key in sources)), row.clone()
        for key in sources:
            new[key] = 0
        for key, weight in shares.items():
            new[key] += moved * weight / sum(shares.values())
        return new

    two = {"keys": [1, 4], "weights": [0.25, 0.5]}
    for name, operation, new_row, edit in (
        ("knockout", "attention_knockout", lambda r, q: knocked_out(r, q, renormalises=True), AttentionEdit([1, 4])),
        (
            "knockout, rest as it was", "attention_knockout", lambda r, q: knocked_out(r, q, renormalises=False),
            AttentionEdit([1, 4], renormalise=False),
        ),
        ("set", "attention_set", lambda r, q: set_to(r, q, rest="zero"), AttentionEdit(**two)),
        (
            "set as typed", "attention_set", lambda r, q: set_to(r, q, rest="zero", renormalises=False),
            AttentionEdit(**two, renormalise=False),
        ),
        (
            "set, rest scaled", "attention_set", lambda r, q: set_to(r, q, rest="scaled"),
            AttentionEdit(**two, rest="scaled"),
        ),
        ("turn", "attention_turn", lambda r, q: turned(r, q, sources=None), AttentionEdit(**two)),
        (
            "turn from keys", "attention_turn", lambda r, q: turned(r, q, sources=(0, 2)),
            AttentionEdit(**two, from_keys=[0, 2]),
        ),
    ):  # fmt: skip
        made.add(f"attention {name}", operation, heads, row_by_row(new_row), attention=edit)
