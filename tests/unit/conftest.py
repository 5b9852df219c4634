"""What several unit tests begin with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import livelens
from livelens.library.live_view import LiveView


@pytest.fixture
def view() -> Iterator[LiveView]:
    """A view of a small fake model."""
    with livelens.view("fake:3x2x24") as opened:
        yield opened
