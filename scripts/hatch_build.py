"""Refuse to build a wheel or an sdist without the page (hatch would silently leave it out), and record which page.

A wheel says in `*.dist-info/extra_metadata/page.sha256` what `page_sha256` gives for the page in it, so that
anybody can build the page again from the sdist and compare.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PAGE = "server/livelens/static"
LABEXTENSION = "server/jupyter_data/labextensions/livelens/package.json"


def page_sha256(folder: Path) -> str:
    """sha256 over names and contents of all files of the built page, in the order of their names."""
    total = hashlib.sha256()
    for path in sorted(item for item in folder.rglob("*") if item.is_file()):
        total.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


class PageGuard(BuildHookInterface[Any]):
    """An editable install may lack the page (it is built next); an artifact may not."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Raise before anything is written when the built page is missing or the versions disagree."""
        self._folder = tempfile.TemporaryDirectory()
        if version == "editable":
            return
        page = Path(self.root, PAGE)
        if not (page / "index.html").is_file():
            raise FileNotFoundError(f"{page}/index.html is missing: run `python scripts/build_client.py` first")
        labextension = json.loads(Path(self.root, LABEXTENSION).read_text())["version"]
        if labextension != self.metadata.version:
            raise ValueError(f"{LABEXTENSION} says version {labextension}, pyproject.toml {self.metadata.version}")
        if self.target_name == "wheel":
            record = Path(self._folder.name, "page.sha256")
            record.write_text(page_sha256(page) + "\n")
            build_data["extra_metadata"][str(record)] = "page.sha256"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The record is in the wheel."""
        self._folder.cleanup()
