"""Frames packed on the encoder thread, once for all viewers who are sent the same."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from concurrent.futures import Executor
from typing import Final

from livelens.session.frames import Frame, FrameKey

CACHE_BYTES: Final = 32 * 1024 * 1024


class Packer:
    """`pack` gives a frame's bytes; equal keys are packed once, also when asked at the same time."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._done: OrderedDict[FrameKey, bytes] = OrderedDict()
        self._done_bytes = 0
        self._under_way: dict[FrameKey, asyncio.Future[bytes]] = {}

    async def pack(self, frame: Frame) -> bytes:
        """The frame's bytes. Cancelling one who waits does not cancel the others."""
        if frame.is_cheap:
            return frame.make()
        loop = asyncio.get_running_loop()
        if frame.key is None:
            return await loop.run_in_executor(self._executor, frame.make)
        if frame.key in self._done:
            self._done.move_to_end(frame.key)
            return self._done[frame.key]
        future = self._under_way.get(frame.key)
        if future is None:
            future = loop.run_in_executor(self._executor, frame.make)
            self._under_way[frame.key] = future
            key = frame.key
            future.add_done_callback(lambda done: self._keep(key, done))
        return await asyncio.shield(future)

    def _keep(self, key: FrameKey, future: asyncio.Future[bytes]) -> None:
        self._under_way.pop(key, None)
        if future.cancelled() or future.exception() is not None:
            return
        self._done[key] = future.result()
        self._done_bytes += len(future.result())
        while self._done_bytes > CACHE_BYTES and len(self._done) > 1:
            _, oldest = self._done.popitem(last=False)
            self._done_bytes -= len(oldest)
