"""The models that the configuration allows, each loaded when somebody first wants to watch it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from tornado import web

from livelens.jupyter.kernel_views import KernelViews
from livelens.model.engine import Engine
from livelens.transport.hub import Hub, Link
from livelens.transport.loading_thread import on_a_thread

_log = logging.getLogger(__name__)
RETRY_SECS: Final = 10.0
_CLOSE_SECS: Final = 0.5


class Entrance(Protocol):
    """Where a viewer comes in: a hub, or the way to one."""

    def enter(self, link: Link) -> str:
        """A viewer has come; its id."""
        ...

    def receive(self, viewer_id: str, message: str | bytes) -> float:
        """One message of it; for how many seconds no more is to be read."""
        ...

    async def leave(self, viewer_id: str) -> None:
        """Its connection has closed."""
        ...


class Watchable(Protocol):
    """What an address of ours shows."""

    @property
    def has_room(self) -> bool:
        """One more viewer may come."""
        ...

    def health(self) -> dict[str, object]:
        """What `GET health` tells."""
        ...

    async def ready(self) -> Entrance:
        """Where viewers come in; raises ModelUnavailableError."""
        ...


class ModelUnavailableError(Exception):
    """The model could not be loaded; the text says why."""


class LazyModel:
    """One allowed model. `load` is called on a thread of its own, once unless it fails."""

    def __init__(self, name: str, load: Callable[[], Engine], *, grace_secs: float, max_connections: int) -> None:
        self.name = name
        self._load = load
        self._grace_secs = grace_secs
        self._max_connections = max_connections
        self._loading: asyncio.Future[Hub] | None = None
        self._retry_at = 0.0
        self._engine: Engine | None = None
        self.hub: Hub | None = None

    @property
    def has_room(self) -> bool:
        """One more viewer may come."""
        return self.hub is None or self.hub.has_room

    def health(self) -> dict[str, object]:
        """What `GET health` tells, also of a model that nobody has asked for yet."""
        return {"is_loaded": self.hub is not None, **(self.hub.health() if self.hub is not None else {})}

    async def ready(self) -> Hub:
        """The model's hub, loaded by whoever comes first; raises ModelUnavailableError."""
        if self._loading is None or self._may_try_again(self._loading):
            self._loading = asyncio.ensure_future(self._loaded())
        return await asyncio.shield(self._loading)

    def _may_try_again(self, loading: asyncio.Future[Hub]) -> bool:
        failed = loading.done() and (loading.cancelled() or loading.exception() is not None)
        return failed and asyncio.get_running_loop().time() >= self._retry_at

    async def _loaded(self) -> Hub:
        loading = on_a_thread(self._load)
        try:
            await asyncio.wait([loading])
        finally:
            loading.cancel()  # harmless when done; otherwise nobody waits for it any longer
        fault = loading.exception()
        if fault is not None:
            # A page that was refused comes back by itself: it must not start a load each time.
            self._retry_at = asyncio.get_running_loop().time() + RETRY_SECS
            _log.error("the model %s cannot be loaded", self.name, exc_info=fault)
            raise ModelUnavailableError(f"{self.name} cannot be loaded: {fault}") from fault
        self._engine = loading.result()
        self.hub = Hub(self._engine, grace_secs=self._grace_secs, max_connections=self._max_connections)
        return self.hub

    async def close(self) -> None:
        """Say goodbye to every viewer (1001) and end the model thread."""
        if self._loading is not None and not self._loading.done():
            self._loading.cancel()
        if self.hub is None:
            return
        self.hub.begin_closing()
        links = self.hub.links
        closing = asyncio.gather(*(link.close(1001, "the server is shutting down") for link in links))
        try:
            await asyncio.wait_for(closing, _CLOSE_SECS)
        except TimeoutError:
            for link in links:
                link.abort()
        self.hub.close()
        if self._engine is not None:
            self._engine.close()


class Watched:
    """Everything that may be watched here: the allowed models by name, the default one first, and kernels' views."""

    def __init__(self, models: dict[str, LazyModel], views: KernelViews) -> None:
        self.models = models
        self._views = views

    def at(self, place: str | None) -> Watchable:
        """`model/NAME` or `kernel/ID`, or the default model; 404 for any other."""
        if place is None:
            return next(iter(self.models.values()))
        kind, _, name = place.partition("/")
        if kind == "kernel":
            return self._views.called(name)
        if name not in self.models:
            raise web.HTTPError(404, reason="No model of this name is allowed here")
        return self.models[name]
