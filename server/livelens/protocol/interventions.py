"""What a viewer changes in the network: components, and interventions on them as data, never code.

Each operation takes only the fields that it needs; the rest is refused here, when a message is decoded, so that
a typing error is told and not silently ignored. What depends on the model (is there such a head?) is checked in
`model/interventions.py`, what depends on the run (is that position still to come?) in `run/`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Literal

from msgspec import Meta, field

from livelens.protocol.vocabulary import (
    MAX_COMPONENTS,
    MAX_INTERVENTIONS,
    MAX_KEYS,
    MAX_PROMPT_CHARS,
    MAX_REFERENCE_TEXTS,
    ComponentKind,
    DirectionId,
    DirectionUnit,
    EditId,
    Index,
    Operation,
    PositionScope,
    ReferenceSource,
    RunId,
    WireInput,
    require_finite,
)

STREAM_OPERATIONS: frozenset[Operation] = frozenset(("add_direction", "project_out"))
ATTENTION_OPERATIONS: frozenset[Operation] = frozenset(("attention_knockout", "attention_set", "attention_turn"))
REFERENCE_OPERATIONS: frozenset[Operation] = frozenset(("mean", "resample"))
MIN_AMOUNT, MAX_AMOUNT = -1000, 1000


class Component(WireInput, frozen=True):
    """Something with weights: a head `L12H3`, a neuron `L7N1404`, a layer's `L5.attn` or `L5.mlp`."""

    kind: ComponentKind
    layer: Annotated[Index, Meta(description="0 .. n_layers-1")]
    index: Annotated[Index, Meta(description="head_index or neuron index in the layer; 0 for attn and mlp")] = 0


class Positions(WireInput, frozen=True):
    """At which of the positions that its set holds for an intervention acts.

    `from_now`: at all of them. `range`: from_pos to to_pos - 1. `all`: every position of the run, so its set
    must hold from 0. `tokens`: only where the token read there is one of token_ids. A range (or `all`) that
    begins before the position from which the set holds needs recompute and is refused without it, unless the
    same intervention was in force there already.
    """

    scope: PositionScope = "from_now"
    from_pos: Annotated[Index, Meta(description="of `range`: the first position")] = 0
    to_pos: Annotated[Index | None, Meta(description="of `range`: exclusive; none: without an end")] = None
    token_ids: Annotated[list[Index], Meta(max_length=MAX_KEYS, description="of `tokens`")] = field(
        default_factory=list
    )

    def __post_init__(self) -> None:
        if self.scope != "range" and (self.from_pos or self.to_pos is not None):
            raise ValueError(f"positions `{self.scope}` take no from_pos and to_pos: only `range` does")
        if self.to_pos is not None and self.to_pos <= self.from_pos:
            raise ValueError(f"a range from {self.from_pos} to {self.to_pos} holds no position: to_pos is exclusive")
        if bool(self.token_ids) != (self.scope == "tokens"):
            raise ValueError("token_ids belong to positions `tokens`, which need at least one")


class Reference(WireInput, frozen=True):
    """Where `mean` and `resample` take their values from; computed once, when the set is put in force.

    `prompt`: this run's prompt, no intervention in force. `text`: other prompts, tokenised by the server, no
    intervention in force. `run`: another run as it was computed, under its own interventions. `mean` is over all
    positions (`pooled`), the first included, or position by position over the texts that have it. `resample`
    takes the value at the same position, or at `pos`. Where the reference has no such position (it is shorter
    than the run) the component is left as it is.
    """

    source: ReferenceSource = "prompt"
    texts: Annotated[
        list[Annotated[str, Meta(max_length=MAX_PROMPT_CHARS)]],
        Meta(max_length=MAX_REFERENCE_TEXTS, description="of `text`: one for resample, any number for mean"),
    ] = field(default_factory=list)
    apply_chat_template: Annotated[bool, Meta(description="to each text, as to a prompt")] = False
    run_id: Annotated[RunId | None, Meta(description="of `run`")] = None
    pooled: Annotated[bool, Meta(description="of mean: over all positions; false: position by position")] = True
    pos: Annotated[Index | None, Meta(description="of resample: the position to take; none: the matching one")] = None

    def __post_init__(self) -> None:
        if bool(self.texts) != (self.source == "text"):
            raise ValueError("a reference of source `text` needs texts, and no other source takes any")
        if (self.run_id is not None) != (self.source == "run"):
            raise ValueError("a reference of source `run` needs a run_id, and no other source takes one")
        for text in self.texts:
            if not text.strip():
                raise ValueError("a reference text is empty: write something")
            if "\x00" in text or "\ufffd" in text:
                raise ValueError("a reference is not text: it holds bytes that are no characters")


class StreamPlace(WireInput, frozen=True):
    """A place in the residual stream: before a layer or after it; after a layer is before the next."""

    layer: Index
    hook: Annotated[Literal["resid_pre", "resid_post"], Meta(description="before the layer, or after it")] = (
        "resid_post"
    )


class AttentionEdit(WireInput, frozen=True):
    """What is written into heads' rows between softmax and value. Keys after the query are passed over.

    knockout: the weights of `keys` become zero, and the others are scaled to the sum the row had (`renormalise`)
    or not. set: `keys` get `weights` (empty: equal shares of one); the rest of the row becomes zero (`rest`
    zero), with the weights divided by their sum (`renormalise`) or as they stand, or is scaled so that the row
    sums to one (`rest` scaled; weights then sum to at most one). turn: what the row has on `from_keys` (empty:
    all of the row) moves to `keys`, shared in proportion to `weights`. A row of which no named key is visible
    stays as it is.
    """

    keys: Annotated[list[Index], Meta(min_length=1, max_length=MAX_KEYS, description="key positions")]
    weights: Annotated[
        list[float], Meta(max_length=MAX_KEYS, description="of set and turn: one for each key, not negative")
    ] = field(default_factory=list)
    from_keys: Annotated[list[Index], Meta(max_length=MAX_KEYS, description="of turn: key positions")] = field(
        default_factory=list
    )
    rest: Annotated[Literal["zero", "scaled"], Meta(description="of set: what becomes of other keys")] = "zero"
    renormalise: bool = True

    def __post_init__(self) -> None:
        for name, keys in (("keys", self.keys), ("from_keys", self.from_keys)):
            if len(set(keys)) < len(keys):
                raise ValueError(f"{name} names a position twice")
        if set(self.keys) & set(self.from_keys):
            raise ValueError("keys and from_keys share a position: weight moves from the one to the other")
        if self.weights and len(self.weights) != len(self.keys):
            raise ValueError(f"{len(self.keys)} keys need as many weights, got {len(self.weights)}")
        for weight in self.weights:
            require_finite("a weight", weight)
            if weight < 0:
                raise ValueError(f"an attention weight cannot be negative, got {weight:g}")
        total = math.fsum(self.weights)
        if self.weights and total <= 0:
            raise ValueError("the weights of an attention row sum to zero: give at least one key some weight")
        if self.rest == "scaled" and total > 1 + 1e-6:
            raise ValueError(f"the weights sum to {total:g}: more than one leaves nothing to scale the rest to")


class InterventionSpec(WireInput, frozen=True):
    """What is changed in the network: data, never code. The interventions of a set act in the order of its list.

    components: heads, neurons, whole attn or mlp layers: `zero scale mean resample`; neurons (value `amount`), or
    whole layers with a direction (what they write is `amount` times it): `set`; heads: `attention_*`. `stream`
    and a direction: `add_direction project_out`. An edit, which says of which matrix it is
    (the component that it belongs to may be named, for who lists it): `rank_one_edit`.
    """

    intervention_id: Annotated[str, Meta(min_length=1, max_length=64, description="chosen by the viewer")]
    operation: Annotated[Operation, Meta(description="`zero` is `scale` by 0; see Capabilities.operations")]
    components: Annotated[
        list[Component], Meta(max_length=MAX_COMPONENTS, description="none where `stream` says the place")
    ]
    amount: Annotated[
        float,
        Meta(
            ge=MIN_AMOUNT,
            le=MAX_AMOUNT,
            description="the factor of `scale`, the value of `set`, the strength of `add_direction` and of "
            "`rank_one_edit`; else ignored",
        ),
    ] = 0.0
    enabled: Annotated[bool, Meta(description="a listed but disabled intervention changes nothing")] = True
    positions: Positions = field(default_factory=Positions)
    reference: Annotated[Reference | None, Meta(description="of mean and resample")] = None
    direction_id: Annotated[DirectionId | None, Meta(description="a direction that the server holds")] = None
    unit: Annotated[DirectionUnit, Meta(description="of add_direction's amount")] = "direction"
    stream: Annotated[list[StreamPlace], Meta(max_length=MAX_KEYS, description="of add_direction, project_out")] = (
        field(default_factory=list)
    )
    attention: Annotated[AttentionEdit | None, Meta(description="of attention_knockout, _set, _turn")] = None
    edit_id: Annotated[EditId | None, Meta(description="of rank_one_edit: an edit that the server holds")] = None

    def __post_init__(self) -> None:
        require_finite("amount", self.amount)

        def refuse(reason: str) -> None:
            raise ValueError(f"intervention {self.intervention_id!r}: {self.operation} {reason}")

        is_stream, is_matrix = self.operation in STREAM_OPERATIONS, self.operation == "rank_one_edit"
        if is_matrix and (len(self.components) > 1 or self.stream):
            refuse("takes at most the one component that its edit is of, and no places")
        if is_stream and (self.components or not self.stream):
            refuse("acts on the residual stream: name places in `stream`, and no components")
        if not is_stream and not is_matrix and (self.stream or not self.components):
            refuse("acts on components: name at least one, and no places in `stream`")
        for name, value, needed in (
            ("reference", self.reference, self.operation in REFERENCE_OPERATIONS),
            ("attention", self.attention, self.operation in ATTENTION_OPERATIONS),
            ("edit_id", self.edit_id, is_matrix),
        ):
            if (value is not None) != needed:
                refuse(f"needs `{name}`" if needed else f"takes no `{name}`")
        _check_direction(self, refuse)
        _check_details(self, refuse)


def _check_direction(spec: InterventionSpec, refuse: Callable[[str], None]) -> None:
    kinds = {component.kind for component in spec.components}
    needs = spec.operation in STREAM_OPERATIONS
    if spec.operation == "set":
        if "head" in kinds:
            refuse("cannot put one number into a head's values: use mean, resample or scale on heads")
        if "neuron" in kinds and len(kinds) > 1:
            refuse("takes neurons or whole layers, not both in one intervention")
        needs = bool(kinds & {"attn", "mlp"})
    if needs and spec.direction_id is None:
        what = "a whole layer to one number would set every entry of its vector: give" if spec.components else "needs"
        refuse(f"{what} a direction_id")
    if not needs and spec.direction_id is not None:
        refuse("takes no direction_id")


def _check_details(spec: InterventionSpec, refuse: Callable[[str], None]) -> None:
    if spec.operation in ATTENTION_OPERATIONS and any(one.kind != "head" for one in spec.components):
        refuse("acts on heads: name heads as components")
    edit, reference = spec.attention, spec.reference
    if edit is not None:
        if spec.operation != "attention_turn" and edit.from_keys:
            refuse("takes no from_keys: only attention_turn moves weight")
        if spec.operation == "attention_knockout" and edit.weights:
            refuse("takes no weights: a key that is knocked out has none")
        if edit.rest == "scaled" and spec.operation != "attention_set":
            refuse("has no rest to scale: only attention_set does")
        if spec.operation == "attention_set" and edit.rest == "scaled" and not edit.weights:
            refuse("needs weights where the rest is scaled: equal shares of one leave it nothing")
    if reference is not None:
        if spec.operation == "mean" and reference.pos is not None:
            refuse("takes no pos: only resample takes one position")
        if spec.operation == "resample" and len(reference.texts) > 1:
            refuse("takes one text: which of several would it take the value from?")
    if spec.operation == "project_out" and spec.unit != "direction":
        refuse("has no amount: its unit stays `direction`")


InterventionSet = Annotated[list[InterventionSpec], Meta(max_length=MAX_INTERVENTIONS)]


class InterventionSegment(WireInput, frozen=True):
    """The whole set that holds from `from_pos` on, until the next segment of a log."""

    from_pos: Annotated[Index, Meta(description="first position whose forward pass is under this set")]
    interventions: InterventionSet
