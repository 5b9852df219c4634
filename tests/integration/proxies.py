"""Networks between a client and the server: one that cuts, one that is slow."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator


class Cutter:
    """A proxy that cuts each connection after so many bytes from the server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.cut_after: list[int] = []
        self.n_cuts = 0
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listening(self, sock: socket.socket) -> AsyncIterator[None]:
        server = await asyncio.start_server(self._connection, sock=sock)
        try:
            yield
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._track()
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", self._port)
        budget = self.cut_after.pop(0) if self.cut_after else None
        pump = asyncio.create_task(self._pump(reader, upstream_writer))
        self._tasks.add(pump)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await upstream_reader.read(4096):
                if budget is not None:
                    data, budget = data[:budget], budget - len(data)
                writer.write(data)
                await writer.drain()
                if budget is not None and budget <= 0:
                    self.n_cuts += 1
                    break
        upstream_writer.transport.abort()
        writer.transport.abort()

    def _track(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(4096):
                writer.write(data)
                await writer.drain()
        writer.transport.abort()  # as the network would: the server is not left with a viewer that is gone


class Throttle(Cutter):
    """A proxy with small buffers that passes so many bytes a second."""

    def __init__(self, port: int, *, bytes_per_sec: int) -> None:
        super().__init__(port)
        self._bytes_per_sec = bytes_per_sec

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._track()
        upstream = socket.socket()
        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        upstream.setblocking(False)
        await asyncio.get_running_loop().sock_connect(upstream, ("127.0.0.1", self._port))
        upstream_reader, upstream_writer = await asyncio.open_connection(sock=upstream, limit=8192)
        pump = asyncio.create_task(self._pump(reader, upstream_writer))
        self._tasks.add(pump)
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await upstream_reader.read(4096):
                writer.write(data)
                await asyncio.sleep(len(data) / self._bytes_per_sec)
        writer.transport.abort()
