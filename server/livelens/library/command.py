"""One way to write what a view can do: a coroutine, which a cell may call or await.

view.attribution(pos=14)            # waits
await view.attribution.aio(pos=14)  # lets the kernel go on meanwhile
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Concatenate, Generic, ParamSpec, Protocol, Self, TypeVar, overload

from livelens.library.background import BackgroundLoop

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Waiting(Protocol):
    """Who has commands: something with a background loop."""

    def background(self) -> BackgroundLoop:
        """The loop on which commands run; raises LivelensError where there is none any more."""
        ...


_Owner = TypeVar("_Owner", bound=Waiting)


class BoundCommand(Generic[_P, _R]):
    """A command of one view: call it to wait for it, `aio` to await it."""

    __signature__: inspect.Signature

    def __init__(self, owner: Waiting, work: Callable[_P, Coroutine[None, None, _R]]) -> None:
        self._owner = owner
        self.work = work  # for who is on the background loop already
        functools.update_wrapper(self, work)

    def __call__(self, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        """Do it and wait; Ctrl-C ends the wait and gives it up."""
        return self._owner.background().run(self.work(*args, **kwargs))

    def aio(self, *args: _P.args, **kwargs: _P.kwargs) -> Awaitable[_R]:
        """Do it, to be awaited; cancelling gives it up."""
        return self._owner.background().awaited(self.work(*args, **kwargs))


class Command(Generic[_Owner, _P, _R]):
    """A coroutine method as a `BoundCommand` of whatever it is looked up on."""

    def __init__(
        self, work: Callable[Concatenate[_Owner, _P], Coroutine[None, None, _R]], *, n_hidden: int = 1
    ) -> None:
        """n_hidden: so many first parameters of `work` are not the caller's, and not in the help."""
        self._work = work
        self._n_hidden = n_hidden
        self.__doc__ = work.__doc__

    @overload
    def __get__(self, owner: None, kind: type[_Owner]) -> Self: ...
    @overload
    def __get__(self, owner: _Owner, kind: type[_Owner]) -> BoundCommand[_P, _R]: ...
    def __get__(self, owner: _Owner | None, kind: type[_Owner]) -> Self | BoundCommand[_P, _R]:
        if owner is None:
            return self
        bound: BoundCommand[_P, _R] = BoundCommand(owner, functools.partial(self._work, owner))
        functools.update_wrapper(bound, self._work)
        bound.__signature__ = _without(self._work, self._n_hidden)
        return bound


def command(
    work: Callable[Concatenate[_Owner, _P], Coroutine[None, None, _R]],
) -> Command[_Owner, _P, _R]:
    """Decorator of a coroutine method."""
    return Command(work)


def _without(work: Callable[..., object], n_first: int) -> inspect.Signature:
    """The signature of `work` but for its first parameters."""
    signature = inspect.signature(work)
    return signature.replace(parameters=list(signature.parameters.values())[n_first:])
