"""What `livelens.view` is given, made into an engine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypedDict, Unpack

from livelens.library.live_view import LiveView
from livelens.model.loading import Device, DTypeName, load_engine

if TYPE_CHECKING:
    from livelens.model.bridge import TransformerBridge


class LoadingOptions(TypedDict, total=False):
    """How a model is loaded, as with `livelens serve`; for a bridge, which is loaded, they do not apply."""

    device: Device
    dtype: DTypeName
    n_threads: int | None
    trust_remote_code: bool


def view(model: str | os.PathLike[str] | TransformerBridge = "smollm2", **loading: Unpack[LoadingOptions]) -> LiveView:
    """Watch a model from Python.

    model: what `livelens serve --model` takes, or a TransformerBridge, whose parameters are used where they lie (no
    second copy; its hooks and flags are not touched). Raises ModelSourceError.
    """
    if isinstance(model, str | os.PathLike):
        return LiveView(load_engine(os.fspath(model), **loading))
    from livelens.model.plain_twin import engine_of_bridge  # torch is there already

    return LiveView(engine_of_bridge(model))


def serve(model: str | os.PathLike[str] | TransformerBridge = "smollm2", **loading: Unpack[LoadingOptions]) -> LiveView:
    """`view`, offered at once to the Jupyter server of this kernel: its page is at `jupyter_address` there.

    Where there is no Jupyter server with our extension, the page is at `url` alone.
    """
    opened = view(model, **loading)
    opened.offer()
    return opened
