"""A view of the fake model, a scene of it, and what widgets send."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.unit.notebook.messages import messages

import livelens
from livelens.library.live_view import LiveView
from livelens.notebook.scene import NetworkScene

__all__ = ["messages"]


@pytest.fixture
def view() -> Iterator[LiveView]:
    with livelens.view("fake:3x2x24") as opened:
        yield opened


@pytest.fixture
def scene(view: LiveView) -> Iterator[NetworkScene]:
    made = view.scene()
    yield made
    made.close()
