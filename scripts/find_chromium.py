"""Print the path of a Chromium for tests, screenshots and the page's benchmark; exit 1 when there is none."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")


def find_chromium() -> str | None:
    """LIVELENS_CHROMIUM, else one on the PATH, else Playwright's own, else none."""
    named = os.environ.get("LIVELENS_CHROMIUM")
    if named:
        return named if Path(named).is_file() else None
    for name in NAMES:
        found = shutil.which(name)
        if found:
            return found
    return _playwrights_own()


def _playwrights_own() -> str | None:
    try:
        from playwright.sync_api import sync_playwright  # noqa: PLC0415  only the test extra has it
    except ImportError:
        return None
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None


if __name__ == "__main__":
    chromium = find_chromium()
    if chromium is None:
        print("no Chromium found: install one, or name it in LIVELENS_CHROMIUM", file=sys.stderr)
        sys.exit(1)
    print(chromium)
