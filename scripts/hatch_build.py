"""Refuse to build a wheel or an sdist without the page: hatch would silently leave it out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PageGuard(BuildHookInterface[Any]):
    """An editable install may lack the page (it is built next); an artifact may not."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Raise before anything is written when the built page is missing."""
        page = Path(self.root, "server/livelens/static/index.html")
        if version != "editable" and not page.is_file():
            raise FileNotFoundError(f"{page} is missing: run `python scripts/build_client.py` first")
