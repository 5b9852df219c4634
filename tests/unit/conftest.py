"""What several unit tests begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

import livelens
from livelens.library.live_view import LiveView

# How long an example takes is the machine's affair.
settings.register_profile("no clock", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("no clock")


@pytest.fixture
def view() -> Iterator[LiveView]:
    """A view of a small fake model."""
    with livelens.view("fake:3x2x24") as opened:
        yield opened
