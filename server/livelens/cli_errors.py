"""How every command of the command line ends when it cannot go on."""

from __future__ import annotations

from typing import NoReturn

import typer


def fail(text: str, *, code: int) -> NoReturn:
    """Say why on stderr and end. code: 2 for what the person can put right on the command line, else 1."""
    typer.secho(f"livelens: {text}", err=True, fg="red")
    raise SystemExit(code)
