"""What a block (one layer) of any architecture is called with: the residual stream, first or by its name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

Arguments = tuple[tuple[object, ...], dict[str, object]]


def with_stream(
    module: nn.Module, args: tuple[object, ...], kwargs: dict[str, object], change: Callable[[Tensor], Tensor]
) -> Arguments:
    """A block's arguments, `change(stream)` in place of the stream; for a pre-hook with keyword arguments."""
    stream = args[0] if args else kwargs["hidden_states"]
    if not isinstance(stream, Tensor):
        raise TypeError(f"{type(module).__name__} reads {type(stream).__name__}, not a stream")
    changed = change(stream)
    return ((changed, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": changed})
