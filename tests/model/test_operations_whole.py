"""Every operation over a whole text at once, no cache: bit for bit what plain Hugging Face gives with it by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.model.driving import close
from tests.model.families import D_MLP, FAMILIES, N_HEADS
from tests.model.hand_hooks import forward_by_hand
from tests.model.operation_cases import at_positions, cases
from tests.model.reference import Reference
from tests.model.test_operations import (
    CHANNELS_READ,
    IDS,
    NAMES,
    WHERE,
    Engines,
    Words,
    hands_of,
    held_at,
    world_of,
)

from livelens.model.interventions import masks_from
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import Positions
from livelens.run.resources import RunResources, Surroundings

# Ours and the hands' multiply or divide in another order here; all others do the same in the same order.
OTHER_ORDER = {
    "add direction before the first layer",
    "add direction of the stream's length",
    "project out",
    "attention set, rest scaled",
    "attention turn",
    "attention turn from keys",
}
WHERES: tuple[Positions, ...] = tuple(positions for _, positions in WHERE.values())


def laid_out_as(reference: Reference, engine: TorchEngine) -> Reference:
    """The same weights, each where it lies in memory as the engine's: another layout may be added up in another order.

    Which one it is depends on the processor, and so would the last bits.
    """
    ours = dict(engine.model.named_parameters())
    for name, parameter in reference.model.named_parameters():
        parameter.data = torch.empty_strided(ours[name].shape, ours[name].stride()).copy_(parameter.data)
    return reference


@pytest.mark.parametrize("family", FAMILIES)
def test_the_stream_after_every_layer_is_the_same(
    tiny: Engines, tiny_folder: Callable[[str], Path], family: str, one_thread: None
) -> None:
    engine = tiny(family)
    reference = laid_out_as(Reference(tiny_folder(family)), engine)
    world = world_of(engine, reference, layer=1, heads=(1, N_HEADS - 1), neuron=D_MLP // 2)
    resources = RunResources(Words(engine), IDS, Surroundings(directions={"d": world.direction.numpy()}))
    clean = forward_by_hand(reference, IDS, {}).resid
    for number, name in enumerate(NAMES):
        case, positions = cases(world)[name], WHERES[number % len(WHERES)]
        masks = masks_from([at_positions(case, name, positions)], engine.info, resources)
        captured = engine.open_sequence().forward(IDS, masks=masks, channels=CHANNELS_READ)
        by_hand = forward_by_hand(reference, IDS, hands_of([(case, held_at(case, 0, positions, IDS))])).resid
        assert any(not torch.equal(one, other) for one, other in zip(by_hand, clean, strict=True)), name
        for layer, (ours, theirs) in enumerate(zip(captured._tensors.sites["resid"], by_hand, strict=True)):
            if name in OTHER_ORDER:
                close(ours[0].numpy(), theirs, relative=1e-5, what=f"{name}: the stream before layer {layer}")
            else:
                assert torch.equal(ours[0], theirs), f"{name}: the stream before layer {layer}"
