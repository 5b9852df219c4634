"""The built page, read once into memory: a request picks from a table, so no path is ever joined."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import Final

_CONTENT_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "mjs": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "json": "application/json",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
    "woff2": "font/woff2",
    "wasm": "application/wasm",
    "txt": "text/plain; charset=utf-8",
}
_NOT_BUILT: Final = (
    "<!doctype html><meta charset=utf-8><title>livelens</title><p>The page is not built in this source tree: run "
    "<code>python scripts/build_client.py</code> and start the server again."
)
# vite puts a hash of the content into every name in this folder
_HASHED_FOLDER: Final = "assets/"


@dataclass(frozen=True, slots=True)
class Asset:
    """One file of the page."""

    body: bytes
    content_type: str
    etag: str
    cache_control: str


class Assets:
    """Files of the page by their path below the base address; `` is the page itself."""

    def __init__(self, table: dict[str, Asset]) -> None:
        self._table = table

    def __len__(self) -> int:
        return len(self._table)

    def get(self, path: str) -> Asset | None:
        """The file at exactly this path, undecoded; none when there is none."""
        return self._table.get(path)


def load_assets(root: Traversable | None = None) -> Assets:
    """Everything under the package's `static` folder."""
    table: dict[str, Asset] = {}
    _collect(root if root is not None else files("livelens") / "static", "", table)
    page = table.get("index.html") or _asset("index.html", _NOT_BUILT.encode())
    table[""] = page
    return Assets(table)


def _collect(folder: Traversable, prefix: str, table: dict[str, Asset]) -> None:
    if not folder.is_dir():
        return
    for item in folder.iterdir():
        path = prefix + item.name
        if item.is_dir():
            _collect(item, path + "/", table)
        elif not item.name.startswith("."):
            table[path] = _asset(path, item.read_bytes())


def _asset(path: str, body: bytes) -> Asset:
    extension = path.rpartition(".")[2].lower()
    return Asset(
        body=body,
        content_type=_CONTENT_TYPES.get(extension, "application/octet-stream"),
        etag=f'"{hashlib.sha256(body).hexdigest()[:32]}"',
        cache_control="max-age=31536000, immutable" if path.startswith(_HASHED_FOLDER) else "no-cache",
    )
