"""The set of interventions that stands in a view: components put into it and taken out again by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from livelens.client import ablate
from livelens.protocol.components import component_id, parse_component
from livelens.protocol.messages import Component, InterventionSpec


def ablated(interventions: Iterable[InterventionSpec]) -> list[str]:
    """Names of the components that are multiplied by something, wherever that acts."""
    return list(
        dict.fromkeys(component_id(item) for spec in interventions if _scales(spec) for item in spec.components)
    )


def with_ablated(
    interventions: Sequence[InterventionSpec], components: Sequence[str | Component], amount: float
) -> list[InterventionSpec]:
    """The set with these components multiplied by `amount`, one intervention each, in place of what scaled them."""
    names = [_name(component) for component in components]
    taken = {spec.intervention_id for spec in without(interventions, names)}
    free = {name: next(each for each in _ids(name) if each not in taken) for name in dict.fromkeys(names)}
    added = [ablate(name, amount=amount, intervention_id=free[name]) for name in free]
    return [*without(interventions, names), *added]


def without(interventions: Sequence[InterventionSpec], components: Sequence[str | Component]) -> list[InterventionSpec]:
    """The set in which nothing multiplies these components; other operations stay."""
    gone = {_name(component) for component in components}
    kept: list[InterventionSpec] = []
    for spec in interventions:
        left = [item for item in spec.components if component_id(item) not in gone]
        if not _scales(spec) or len(left) == len(spec.components):
            kept.append(spec)
        elif left:
            kept.append(msgspec.structs.replace(spec, components=left))
    return kept


def _scales(spec: InterventionSpec) -> bool:
    return spec.enabled and spec.operation in ("zero", "scale")


def _ids(name: str) -> Iterable[str]:
    yield name
    yield from (f"{name}-{number}" for number in range(2, 1000))


def _name(component: str | Component) -> str:
    return component_id(parse_component(component) if isinstance(component, str) else component)
