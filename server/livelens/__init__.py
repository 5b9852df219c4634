"""livelens: watch a transformer language model think, and reach in while it does.

Importing this package loads neither torch nor transformer_lens; `livelens.client` talks to a server.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("livelens")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
