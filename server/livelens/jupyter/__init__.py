"""livelens inside Jupyter: a jupyter-server extension, enabled by installing `livelens[jupyter]`."""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    import jupyter_server  # noqa: F401 - a clear word when it is missing
except ImportError as error:
    raise ImportError('livelens inside Jupyter needs its extra: pip install "livelens[jupyter]"') from error

if TYPE_CHECKING:
    from livelens.jupyter.extension import LivelensExtension


def _jupyter_server_extension_points() -> list[dict[str, str | type[LivelensExtension]]]:
    """Read by jupyter-server at its start."""
    from livelens.jupyter.extension import LivelensExtension

    return [{"module": "livelens.jupyter", "app": LivelensExtension}]
