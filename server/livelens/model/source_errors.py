"""The one error of finding, fetching and reading a model."""

from __future__ import annotations


class ModelSourceError(RuntimeError):
    """The model cannot be found, fetched or read; the text says why and what to do."""
