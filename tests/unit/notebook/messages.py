"""What widgets send, as a browser would get it."""

from __future__ import annotations

from collections import Counter
from typing import Any, Protocol

import comm
import pytest


class HasId(Protocol):
    """A widget."""

    model_id: str


class Messages:
    """Every message that a widget sent, by the widget's id; those that make a widget are not counted."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, dict[str, Any], int]] = []

    def take(self, model_id: str, data: dict[str, Any] | None, buffers: list[Any] | None) -> None:
        sizes = [memoryview(buffer).nbytes for buffer in buffers or []]
        self.sent.append((model_id, data or {}, sum(sizes)))

    def counts(self) -> Counter[str]:
        return Counter(model_id for model_id, _, _ in self.sent)

    def of(self, widget: HasId) -> list[tuple[dict[str, Any], int]]:
        """State and bytes of buffers of each message of one widget."""
        return [(data.get("state", {}), size) for model_id, data, size in self.sent if model_id == widget.model_id]


@pytest.fixture
def messages(monkeypatch: pytest.MonkeyPatch) -> Messages:
    recorded = Messages()

    def publish(
        self: comm.DummyComm,
        msg_type: str,
        data: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        buffers: list[Any] | None = None,
        **keys: object,
    ) -> None:
        if msg_type == "comm_msg":
            recorded.take(self.comm_id, data, buffers)

    monkeypatch.setattr(comm.DummyComm, "publish_msg", publish)
    return recorded
