"""What `livelens.view` is given, made into an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from livelens.library.live_view import LiveView
from livelens.model.loading import Device, DTypeName, load_engine

if TYPE_CHECKING:
    from livelens.model.bridge import TransformerBridge


def view(
    model: str | TransformerBridge = "smollm2",
    *,
    device: Device = "auto",
    dtype: DTypeName = "auto",
    n_threads: int | None = None,
    trust_remote_code: bool = False,
) -> LiveView:
    """Watch a model from Python.

    model: what `livelens serve --model` takes, or a TransformerBridge, whose parameters are used where they lie (no
    second copy; its hooks and flags are not touched, and the other arguments do not apply). Raises ModelSourceError.
    """
    if not isinstance(model, str):
        from livelens.model.plain_twin import engine_of_bridge  # torch is there already

        return LiveView(engine_of_bridge(model))
    engine = load_engine(model, device=device, dtype=dtype, n_threads=n_threads, trust_remote_code=trust_remote_code)
    return LiveView(engine)
