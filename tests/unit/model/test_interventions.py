"""Interventions become masks: factors multiply, disabled ones vanish, strangers are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livelens.model.interventions import masks_from
from livelens.protocol.messages import Capabilities, Component, InterventionSpec, ModelInfo

INFO = ModelInfo(
    "m",
    "a",
    4,
    3,
    1,
    12,
    4,
    7,
    100,
    64,
    "float32",
    "",
    Capabilities([], ["zero", "scale"], ["head", "neuron", "attn", "mlp"]),
)
SIZES = {"head": 3, "neuron": 7, "attn": 1, "mlp": 1}


@st.composite
def spec_sets(draw: st.DrawFn) -> list[InterventionSpec]:
    specs = []
    for number in range(draw(st.integers(0, 5))):
        kinds = draw(st.lists(st.sampled_from(sorted(SIZES)), min_size=1, max_size=4))
        components = [Component(kind, draw(st.integers(0, 3)), draw(st.integers(0, SIZES[kind] - 1))) for kind in kinds]
        specs.append(
            InterventionSpec(
                f"i{number}",
                draw(st.sampled_from(["zero", "scale"])),
                components,
                draw(st.sampled_from([0.0, 0.5, -1.0, 2.0])),
                draw(st.booleans()),
            )
        )
    return specs


@given(spec_sets())
def test_masks_hold_the_product_of_every_enabled_factor(specs: list[InterventionSpec]) -> None:
    """Every component of the model, against the definition."""
    masks = masks_from(specs, INFO)
    for kind, size in SIZES.items():
        for layer in range(INFO.n_layers):
            for index in range(size):
                expected = 1.0
                for spec in specs:
                    hits = spec.components.count(Component(kind, layer, index)) if spec.enabled else 0
                    expected *= (0.0 if spec.operation == "zero" else spec.amount) ** hits if hits else 1.0
                held = getattr(masks, {"head": "heads", "neuron": "neurons"}.get(kind, kind)).get(layer, 1.0)
                assert (held[index] if isinstance(held, np.ndarray) else held) == expected
    assert masks.changes_nothing == (not any(spec.enabled for spec in specs))


def test_an_id_used_twice_is_refused() -> None:
    """Ids are how a person's list and the server's agree."""
    spec = InterventionSpec("i", "zero", [Component("head", 0, 0)])
    with pytest.raises(ValueError, match="used twice"):
        masks_from([spec, spec], INFO)


@pytest.mark.parametrize(
    "component",
    [
        Component("head", 4, 0),
        Component("head", -1, 0),
        Component("head", 0, 3),
        Component("neuron", 0, 7),
        Component("mlp", 0, 1),
    ],
)
def test_a_component_the_model_lacks_is_refused_by_name(component: Component) -> None:
    """Even when the intervention is disabled: a list must not hold what cannot be switched on."""
    with pytest.raises(ValueError, match=r"'mine'.*0"):
        masks_from([InterventionSpec("mine", "zero", [component], enabled=False)], INFO)
