"""The one error of the Python client."""

from __future__ import annotations


class LivelensError(Exception):
    """What the server refused, or why it cannot be reached; `code` is stable, the text says what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
