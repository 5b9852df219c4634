"""InterventionSpec to masks: factors that are multiplied into the forward pass, and operations at their places.

A mask is a tensor rather than a branch, so a thousand ablated neurons cost what one costs, two runs
on one model do not see each other, and rows of a batch can differ. What is no factor for all positions
becomes an operation, and operations act in the order of the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from livelens.model.operations import (
    EVERYWHERE,
    F32,
    MATRIX_SITES,
    Added,
    Change,
    EditSite,
    Indices,
    Operation,
    Place,
    ProjectedOut,
    RankOne,
    Replacement,
    RowsWritten,
    Scaled,
    Span,
    WeightEdit,
    Where,
)
from livelens.protocol.components import check_component, component_id
from livelens.protocol.messages import Component, EditedMatrix, InterventionSpec, ModelInfo, Positions, Reference

SITES: dict[str, EditSite] = {"head": "z", "neuron": "neurons", "attn": "attn_out", "mlp": "mlp_out"}

_ROW_KINDS: dict[str, Literal["knockout", "set", "turn"]] = {
    "attention_knockout": "knockout",
    "attention_set": "set",
    "attention_turn": "turn",
}


class Resources(Protocol):
    """Where interventions get vectors from that they only name. All raise ValueError, saying what is wrong."""

    def direction(self, direction_id: str) -> F32:
        """[d_model]."""

    def rank_one_edit(self, edit_id: str) -> WeightEdit:
        """A held edit of a weight matrix."""

    def reference_values(self, reference: Reference, places: Sequence[Place]) -> list[dict[Place, F32]]:
        """Of each text or run of the reference: what was computed at `places`, [n_positions, width]."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InterventionMasks:
    """Factors by component, then operations in their order; a layer that is absent is untouched.

    heads: layer -> [n_heads], on hook_z. neurons: layer -> [d_mlp], on mlp.out.hook_in.
    attn, mlp: layer -> factor on what the whole layer writes, biases included.
    """

    heads: dict[int, F32] = field(default_factory=dict)
    neurons: dict[int, F32] = field(default_factory=dict)
    attn: dict[int, float] = field(default_factory=dict)
    mlp: dict[int, float] = field(default_factory=dict)
    operations: list[Operation] = field(default_factory=list)

    @property
    def changes_nothing(self) -> bool:
        """No component is touched."""
        return not (self.heads or self.neurons or self.attn or self.mlp or self.operations)

    def operations_on(self, span: Span) -> list[Operation]:
        """Those that change something in a forward call."""
        return [operation for operation in self.operations if bool(operation.acts_on(span).any())]


def check_interventions(interventions: Sequence[InterventionSpec], model_info: ModelInfo) -> None:
    """Raise ValueError, naming the component and the limit, when one does not fit the model."""
    seen: set[str] = set()
    for spec in interventions:
        if spec.intervention_id in seen:
            raise ValueError(f"intervention_id {spec.intervention_id!r} is used twice: ids must differ within a set")
        seen.add(spec.intervention_id)
        if spec.operation not in model_info.capabilities.operations:
            raise ValueError(f"this model cannot do operation {spec.operation!r}")
        try:
            _check_places(spec, model_info)
        except ValueError as error:
            raise ValueError(f"intervention {spec.intervention_id!r}: {error}") from error


def _check_places(spec: InterventionSpec, model_info: ModelInfo) -> None:
    for component in spec.components:
        check_component(component, model_info)
    for place in spec.stream:
        if place.layer >= model_info.n_layers:
            raise ValueError(
                f"layer {place.layer} does not exist: this model has layers 0 to {model_info.n_layers - 1}"
            )
    for token_id in spec.positions.token_ids:
        if token_id >= model_info.d_vocab:
            raise ValueError(f"token {token_id} does not exist: ids of this model are 0 to {model_info.d_vocab - 1}")
    named = [("from_pos", spec.positions.from_pos)]
    if spec.attention is not None:
        named += [("a key", key) for key in (*spec.attention.keys, *spec.attention.from_keys)]
    if spec.reference is not None and spec.reference.pos is not None:
        named.append(("pos", spec.reference.pos))
    for name, pos in named:
        if pos >= model_info.n_ctx:
            raise ValueError(f"{name} {pos} is outside every run: this model takes {model_info.n_ctx} tokens")


def masks_from(
    interventions: Sequence[InterventionSpec], model_info: ModelInfo, resources: Resources | None = None
) -> InterventionMasks:
    """The masks of the enabled interventions; factors on one component multiply.

    resources: for interventions that name a direction or a reference. Raises ValueError like
    `check_interventions`, and for what the resources do not have.
    """
    check_interventions(interventions, model_info)
    masks = InterventionMasks()
    for spec in interventions:
        if not spec.enabled:
            continue
        if _is_plain_factor(spec) and not _is_touched(spec, masks):
            _multiply(masks, spec, model_info)
            continue
        try:
            masks.operations.extend(_operations(spec, model_info, resources))
        except ValueError as error:
            raise ValueError(f"intervention {spec.intervention_id!r}: {error}") from error
    return masks


def _is_plain_factor(spec: InterventionSpec) -> bool:
    return spec.operation in ("zero", "scale") and where_of(spec.positions).is_everywhere


def _is_touched(spec: InterventionSpec, masks: InterventionMasks) -> bool:
    """Whether an operation before it in the list acts at one of its places: the order counts there."""
    touched = {operation.place for operation in masks.operations}
    return any((SITES[component.kind], component.layer) in touched for component in spec.components)


def _multiply(masks: InterventionMasks, spec: InterventionSpec, model_info: ModelInfo) -> None:
    factor = _factor(spec)
    for component in spec.components:
        layer, index = component.layer, component.index
        match component.kind:
            case "head":
                row = masks.heads.setdefault(layer, np.ones(model_info.n_heads, np.float32))
                row[index] *= np.float32(factor)
            case "neuron":
                row = masks.neurons.setdefault(layer, np.ones(model_info.d_mlp, np.float32))
                row[index] *= np.float32(factor)
            case "attn":
                masks.attn[layer] = masks.attn.get(layer, 1.0) * factor
            case "mlp":
                masks.mlp[layer] = masks.mlp.get(layer, 1.0) * factor


def _factor(spec: InterventionSpec) -> float:
    return 0.0 if spec.operation == "zero" else spec.amount


def where_of(positions: Positions) -> Where:
    """The positions of an intervention, among those that its set holds for."""
    match positions.scope:
        case "range":
            return Where(start=positions.from_pos, stop=positions.to_pos)
        case "tokens":
            return Where(token_ids=frozenset(positions.token_ids))
        case _:
            return EVERYWHERE


def _operations(spec: InterventionSpec, info: ModelInfo, resources: Resources | None) -> list[Operation]:
    where = where_of(spec.positions)
    if spec.stream:
        direction = _direction(spec, info, resources)
        change: Change = (
            ProjectedOut(direction) if spec.operation == "project_out" else Added(direction, spec.amount, spec.unit)
        )
        layers = [place.layer + (place.hook == "resid_post") for place in spec.stream]
        return [Operation(("resid", layer), where, change) for layer in layers]
    if spec.attention is not None:
        return _row_operations(spec, where)
    if spec.edit_id is not None:
        return [_matrix_operation(spec, spec.edit_id, where, info, resources)]
    by_place: dict[Place, list[Component]] = {}
    for component in spec.components:
        by_place.setdefault((SITES[component.kind], component.layer), []).append(component)
    changes = _changes(spec, by_place, info, resources)
    return [Operation(place, where, change) for place, change in changes.items()]


def _changes(
    spec: InterventionSpec, by_place: dict[Place, list[Component]], info: ModelInfo, resources: Resources | None
) -> dict[Place, Change]:
    """What happens at each place to its components."""
    columns = {place: _columns(components, info) for place, components in by_place.items()}
    if spec.operation in ("zero", "scale"):
        return {place: Scaled(_factors(spec, by_place[place], info)) for place in by_place}
    if spec.operation == "set":
        vector = None if spec.direction_id is None else _direction(spec, info, resources)
        written = np.float32(spec.amount) * (np.ones(info.d_mlp, np.float32) if vector is None else vector)
        return {place: Replacement(at, written[at], len(written)) for place, at in columns.items()}
    if spec.reference is None or resources is None:
        raise ValueError(f"{spec.operation} has no reference here to take values from")
    sources = resources.reference_values(spec.reference, list(by_place))
    changes: dict[Place, Change] = {}
    for place, at in columns.items():
        value = _reference_value([source[place][:, at] for source in sources], spec, spec.reference)
        changes[place] = Replacement(at, value, width_of(place, info))
    return changes


def _reference_value(sources: list[F32], spec: InterventionSpec, reference: Reference) -> F32:
    """[n], or [n_positions, n]: what `sources` [n_positions, n] give, as the intervention says."""
    if spec.operation == "resample":
        (source,) = sources
        if reference.pos is None:
            return source
        if reference.pos >= len(source):
            raise ValueError(
                f"the reference has no position {reference.pos} to take: it has positions 0 to {len(source) - 1}"
            )
        value: F32 = source[reference.pos]
        return value
    if reference.pooled:
        pooled: F32 = np.concatenate(sources).mean(axis=0, dtype=np.float64).astype(np.float32)
        return pooled
    if len(sources) == 1:
        return sources[0]
    longest = max(len(source) for source in sources)
    rows = [np.mean([source[at] for source in sources if at < len(source)], axis=0) for at in range(longest)]
    return np.stack(rows).astype(np.float32)


def width_of(place: Place, info: ModelInfo) -> int:
    """How many values a position has there."""
    return {"z": info.n_heads * info.d_head, "neurons": info.d_mlp}.get(place[0], info.d_model)


def _columns(components: Sequence[Component], info: ModelInfo) -> Indices:
    """Which of their site's values are theirs, ascending, each once."""
    kind = components[0].kind
    indices = np.unique([component.index for component in components])
    if kind == "head":
        return (indices[:, None] * info.d_head + np.arange(info.d_head)).ravel()
    return indices if kind == "neuron" else np.arange(info.d_model)


def _factors(spec: InterventionSpec, components: Sequence[Component], info: ModelInfo) -> F32:
    """[width]: a component that is named twice is scaled twice, as elsewhere."""
    kind = components[0].kind
    if kind in ("attn", "mlp"):
        return np.array([_factor(spec) ** len(components)], np.float32)
    width = info.d_mlp if kind == "neuron" else info.n_heads * info.d_head
    factors = np.ones(width, np.float32)
    for component in components:
        step = 1 if kind == "neuron" else info.d_head
        factors[component.index * step : (component.index + 1) * step] *= np.float32(_factor(spec))
    return factors


def _row_operations(spec: InterventionSpec, where: Where) -> list[Operation]:
    edit = spec.attention
    assert edit is not None
    weights = np.array(edit.weights or [1 / len(edit.keys)] * len(edit.keys), np.float32)
    heads: dict[int, set[int]] = {}
    for component in spec.components:
        heads.setdefault(component.layer, set()).add(component.index)
    return [
        Operation(
            ("pattern", layer),
            where,
            RowsWritten(
                kind=_ROW_KINDS[spec.operation],
                heads=np.array(sorted(of_layer), np.intp),
                keys=np.array(edit.keys, np.intp),
                weights=weights,
                from_keys=np.array(edit.from_keys, np.intp),
                keeps_rest=edit.rest == "scaled",
                renormalises=edit.renormalise,
            ),
        )
        for layer, of_layer in heads.items()
    ]


def _matrix_operation(
    spec: InterventionSpec, edit_id: str, where: Where, info: ModelInfo, resources: Resources | None
) -> Operation:
    if resources is None:
        raise ValueError(f"{spec.operation} has no edit here")
    edit = resources.rank_one_edit(edit_id)
    check_matrix(edit.matrix, edit.layer, info)
    _check_named(spec.components, edit)
    width = width_into(edit.matrix, info)
    if edit.key.shape != (width,) or edit.value.shape != (info.d_model,):
        raise ValueError(
            f"edit {edit_id!r} has a key of {edit.key.size} and a value of {edit.value.size} numbers; "
            f"this model's {edit.matrix} takes {width} and {info.d_model}"
        )
    return Operation((MATRIX_SITES[edit.matrix], edit.layer), where, RankOne(edit.key, edit.value, spec.amount))


def _check_named(components: Sequence[Component], edit: WeightEdit) -> None:
    """Raise ValueError where a component is named that the edited matrix does not belong to."""
    kinds = ("mlp",) if edit.matrix == "mlp_out" else ("attn", "head")
    for component in components:
        if component.kind not in kinds or component.layer != edit.layer:
            raise ValueError(
                f"{component_id(component)} is not what the edit is of: {edit.matrix} of layer {edit.layer}"
            )


def check_matrix(matrix: EditedMatrix, layer: int, info: ModelInfo) -> None:
    """Raise ValueError, naming the limit, unless the model has this matrix, alone, in this layer."""
    if layer >= info.n_layers:
        raise ValueError(f"layer {layer} does not exist: this model has layers 0 to {info.n_layers - 1}")
    if matrix == "mlp_out" and "neuron" not in info.capabilities.component_kinds:
        raise ValueError("this model's MLPs have no single output matrix to edit (a mixture of experts): edit ov")


def width_into(matrix: EditedMatrix, info: ModelInfo) -> int:
    """How many values go into a matrix: the width of a key."""
    return info.d_mlp if matrix == "mlp_out" else info.n_heads * info.d_head


def _direction(spec: InterventionSpec, info: ModelInfo, resources: Resources | None) -> F32:
    if spec.direction_id is None or resources is None:
        raise ValueError(f"{spec.operation} has no direction here")
    direction = resources.direction(spec.direction_id)
    if direction.shape != (info.d_model,):
        raise ValueError(
            f"direction {spec.direction_id!r} has {direction.size} values, this model's stream {info.d_model}"
        )
    return direction
