"""A tiny prompt, its edits, and asking what its logit comes from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck
from tests.model.families import D_MLP
from tests.model.reference import Reference

from livelens.analysis.attribution import Attribution
from livelens.analysis.edge_types import Incoming, Outgoing
from livelens.model.frozen import FrozenModel, MaskSegment
from livelens.model.interventions import InterventionMasks
from livelens.model.torch_engine import TorchEngine

PROMPT = [5, 100, 42, 7, 310, 599, 12, 451, 3]
LAST = len(PROMPT) - 1
TARGET, DISTRACTOR = 11, 400
MASKS = InterventionMasks(
    heads={0: np.array([1, 1, 1, 0], np.float32)},
    neurons={1: np.where(np.arange(D_MLP) == 7, 3, 1).astype(np.float32)},
    attn={1: 0.5},
    mlp={2: 0.7, 0: 0.0},
)
SEGMENTS = (MaskSegment(from_pos=4, masks=MASKS), MaskSegment(from_pos=7, masks=None))
# Of hypothesis: the engines are one a session, whatever is drawn; how long a draw took says how busy the machine is.
CHECKS_OFF = (HealthCheck.function_scoped_fixture, HealthCheck.too_slow)
Engines = Callable[[str], TorchEngine]
References = Callable[[str], Reference]


def frozen_of(engine: TorchEngine) -> FrozenModel:
    return FrozenModel(engine.model, engine.anatomy)


def attribute(
    engine: TorchEngine,
    *,
    tokens: list[int] = PROMPT,
    segments: tuple[MaskSegment, ...] = (),
    target_id: int = TARGET,
    distractor_id: int | None = DISTRACTOR,
) -> Attribution:
    model = frozen_of(engine)
    return Attribution(model, model.run(tokens, segments), target_id=target_id, distractor_id=distractor_id)


def assert_conserved(error: float, value: float, *terms: np.ndarray) -> None:
    """Within 1e-3 of the value; where terms of opposite sign all but cancel, within their rounding."""
    rounding = 1e-5 * sum(float(np.abs(term).sum()) for term in terms)
    assert abs(error) <= 1e-3 * abs(value) + rounding, f"{error} is missing from {value}"


def assert_incoming(found: Incoming) -> None:
    edges = found.edges
    assert_conserved(found.error, found.value, edges.embed, edges.heads, edges.mlps, edges.attn_bias)
    assert edges.total() + sum(found.biases.values()) + found.error == pytest.approx(found.value, abs=1e-9)


def assert_outgoing(found: Outgoing) -> None:
    assert_conserved(found.error, found.value, found.heads, found.mlps, np.array([found.logit]))
