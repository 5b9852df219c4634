"""Find and start a Chromium for tests, screenshots and the page's measurements.

`python -m livelens.bench.chromium` prints its path, or says what to do and exits 1.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

# WebGL2 in software, so that pictures and times do not hang on the machine's graphics, and all else drawn without it:
# through software WebGL the page's text and boxes would cost more than the scene. The rest keeps the browser from
# looking for its maker's hosts.
LAUNCH_ARGS = (
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--disable-gpu-rasterization",
    "--disable-gpu-compositing",
)
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
        from playwright.sync_api import sync_playwright  # only the test extra has it
    except ImportError:
        return None
    with sync_playwright() as playwright:
        path = playwright.chromium.executable_path
    return path if Path(path).is_file() else None


def main() -> int:
    """Print the path; the exit code."""
    chromium = find_chromium()
    if chromium is None:
        sys.stderr.write("no Chromium found: install one, or name it in LIVELENS_CHROMIUM\n")
        return 1
    sys.stdout.write(chromium + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
