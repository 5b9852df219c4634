"""Every operation on the shipped model, as a run drives it, equals plain Hugging Face with the same by hand."""

from __future__ import annotations

import pytest
import torch
from tests.model.operation_cases import World, at_positions, cases
from tests.model.reference import Reference
from tests.model.test_operations import NAMES, WHERE, Seen, check, forward_by_hand, world_of

from livelens.model.interventions import masks_from
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import Channel, Component, InterventionSpec

PROMPT = "The Eiffel Tower is in the city of Paris, and the river"
# One of each operation, alone; the mixture has them all.
ONE_EACH = (
    "zero attn", "scale neuron", "mean head by position", "resample mlp", "set neuron", "add direction", "project out",
    "attention knockout", "attention set, rest scaled", "attention turn from keys",
)  # fmt: skip
NONE: frozenset[Channel] = frozenset()  # the logits alone: what channels show is held on tiny models
N_PROMPT = 9  # the rest stands for what was generated


@pytest.fixture(scope="module")
def world(shipped: TorchEngine, shipped_reference: Reference) -> World:
    return world_of(shipped, shipped_reference, layer=17, heads=(4, 7), neuron=529)


@pytest.fixture(scope="module")
def ids(shipped: TorchEngine) -> list[int]:
    return shipped.tokenize(PROMPT, apply_chat_template=False)


@pytest.fixture(scope="module")
def clean(shipped_reference: Reference, ids: list[int]) -> Seen:
    return forward_by_hand(shipped_reference, ids, {})


@pytest.mark.parametrize("name", ONE_EACH)
def test_an_operation_equals_the_same_by_hand(
    shipped: TorchEngine, shipped_reference: Reference, world: World, ids: list[int], clean: Seen, name: str
) -> None:
    """Each at one of the kinds of positions, the next at the next; a range and `all` are what recompute brings."""
    case = cases(world)[name]
    wheres = [where for label, where in WHERE.items() if "one of two" not in label]
    from_pos, positions = wheres[NAMES.index(name) % len(wheres)]
    spec = at_positions(case, name, positions)
    seen = check(
        shipped,
        shipped_reference,
        world,
        [(case, spec)],
        from_pos,
        ids,
        n_prompt=N_PROMPT,
        channels=NONE,
    )
    assert not torch.equal(seen.logits, clean.logits)


def test_a_mixture_over_many_layers_equals_the_same_by_hand(
    shipped: TorchEngine, shipped_reference: Reference, ids: list[int]
) -> None:
    specs = []
    for layer in (3, 11, 22, 28):
        made = cases(world_of(shipped, shipped_reference, layer=layer, heads=(0, 5), neuron=7))
        for name in NAMES[layer % 5 :: 5]:
            specs.append((made[name], at_positions(made[name], f"{layer} {name}", made[name].spec.positions)))
    some = world_of(shipped, shipped_reference, layer=3, heads=(0, 5), neuron=7)
    check(shipped, shipped_reference, some, specs, 4, ids, n_prompt=N_PROMPT, channels=NONE)


def test_factors_without_positions_are_masks_as_they_were(shipped: TorchEngine) -> None:
    """Bit for bit: no operation is made of what is a factor for all positions."""
    specs = [
        InterventionSpec("a", "zero", [Component("head", 3, 1), Component("mlp", 4)]),
        InterventionSpec("b", "scale", [Component("neuron", 7, 1404), Component("attn", 9)], 2.5),
    ]
    masks = masks_from(specs, shipped.info)
    assert masks.operations == [] and masks.heads[3][1] == 0 and masks.attn == {9: 2.5}
