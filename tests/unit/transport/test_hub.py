"""What the hub does of itself, whatever socket a viewer comes over."""

from __future__ import annotations

import asyncio

import pytest

from livelens.model.fake import FakeEngine
from livelens.protocol.codec import decode_event
from livelens.protocol.messages import Hello
from livelens.session.frames import Frame
from livelens.transport.hub import Hub


class RecordedLink:
    """A viewer that takes every frame."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.aborted = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return not self.aborted.is_set()

    async def send(self, frame: bytes) -> None:
        self.frames.append(frame)

    def pending_bytes(self) -> int:
        return 0

    async def close(self, code: int, reason: str) -> None:
        self.aborted.set()

    def abort(self) -> None:
        self.aborted.set()


@pytest.mark.parametrize("is_cheap", [True, False], ids=["here", "on the encoder thread"])
async def test_a_frame_that_cannot_be_made_cuts_the_line_and_is_logged(
    caplog: pytest.LogCaptureFixture, is_cheap: bool
) -> None:
    """Otherwise nothing would be sent any more, and nobody would know why."""
    hub = Hub(FakeEngine(n_layers=2, n_heads=2, d_mlp=16))
    broken, other = RecordedLink(), RecordedLink()
    broken_id, other_id = hub.enter(broken), hub.enter(other)

    def make() -> bytes:
        raise ValueError("this frame is broken")

    hub.session.viewers[broken_id].outbox.answer_later(Frame(make, is_cheap=is_cheap), 1)
    try:
        async with asyncio.timeout(60):
            await broken.aborted.wait()
        assert isinstance(decode_event(broken.frames[0]), Hello)
        assert "this frame is broken" in caplog.text
        assert not other.aborted.is_set()
    finally:
        await hub.leave(broken_id)
        await hub.leave(other_id)
        hub.close()
