"""What may be asked of a view's newest run: the questions of the Python client, for cells.

Each is the client's own method without its run: the same parameters, the same answer. Progress is shown where it
takes long, unless a `progress` is given.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from livelens.client import Client, ClientRun
from livelens.library.background import BackgroundLoop
from livelens.library.command import Command
from livelens.library.progress import ProgressLine

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Watching(Protocol):
    """A view, as its questions need it."""

    def background(self) -> BackgroundLoop:
        """The loop on which commands run; raises LivelensError where there is none any more."""
        ...

    @property
    def client(self) -> Client:
        """The view's own viewer."""
        ...

    def newest_run(self) -> ClientRun:
        """The run that is asked; raises LivelensError where there is none."""
        ...


def of_run(
    method: Callable[Concatenate[Client, ClientRun, _P], Coroutine[None, None, _R]],
) -> Command[Watching, _P, _R]:
    """A method of the client about a run, as a command about the newest one."""
    reports = "progress" in inspect.signature(method).parameters

    async def work(view: Watching, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        if not reports or kwargs.get("progress") is not None:
            return await method(view.client, view.newest_run(), *args, **kwargs)
        with ProgressLine(view.background(), method.__name__) as line:
            kwargs["progress"] = line
            return await method(view.client, view.newest_run(), *args, **kwargs)

    functools.update_wrapper(work, method)
    return Command(work, n_hidden=2)


def of_server(method: Callable[Concatenate[Client, _P], Coroutine[None, None, _R]]) -> Command[Watching, _P, _R]:
    """A method of the client that is about no run."""

    async def work(view: Watching, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return await method(view.client, *args, **kwargs)

    functools.update_wrapper(work, method)
    return Command(work)


class Questions:
    """Base of a view. `view.attribution(pos=14)` waits, `await view.attribution.aio(pos=14)` does not."""

    attribution = of_run(Client.attribution)
    paths = of_run(Client.paths)
    overview = of_run(Client.overview)
    relevance = of_run(Client.relevance)
    measure = of_run(Client.measure)
    patching = of_run(Client.patching)
    head_profile = of_run(Client.head_profile)
    head_scores = of_run(Client.head_scores)
    neuron_profile = of_run(Client.neuron_profile)
    comparison = of_run(Client.comparison)
    lens = of_run(Client.lens)
    head_lens = of_run(Client.head_lens)
    stream_pca = of_run(Client.stream_pca)
    attention_entropy = of_run(Client.attention_entropy)
    attention_row = of_run(Client.request_attention)
    make_direction = of_run(Client.make_direction)
    contrast = of_run(Client.contrast)
    save_recording = of_run(Client.save_recording)
    save_activations = of_run(Client.save_activations)
    put_direction = of_server(Client.put_direction)
    put_saved = of_server(Client.put_saved)
    make_rank_one_edit = of_run(Client.make_rank_one_edit)
    put_rank_one_edit = of_server(Client.put_rank_one_edit)
    put_saved_edit = of_server(Client.put_saved_edit)
    set_twin = of_run(Client.set_twin)
