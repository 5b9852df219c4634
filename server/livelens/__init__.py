"""livelens: watch a transformer language model think, and reach in while it does.

`view` watches a model from Python, `serve` offers it to Jupyter too, `livelens.client` talks to a server. Importing
this package loads neither torch nor transformer_lens.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

try:
    __version__ = version("livelens")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

if TYPE_CHECKING:
    from livelens.library.open_view import serve as serve
    from livelens.library.open_view import view as view


def __getattr__(name: str) -> object:
    """`view` and `serve`, imported when they are first wanted: they bring a server along."""
    if name in ("view", "serve"):
        from livelens.library import open_view

        return open_view.view if name == "view" else open_view.serve
    raise AttributeError(f"module 'livelens' has no attribute {name!r}")


__all__ = ["__version__", "serve", "view"]
