"""The wheel and the sdist, built from a copy of this tree and installed where there is neither Node nor this tree.

Nothing is downloaded: the empty environment sees the packages of the one that runs the tests through a `.pth`, which
does not bring the editable livelens with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import urllib.request
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.jupyter.jupyter_process import TOKEN, jupyter_server

ROOT = Path(__file__).parents[2]
STATIC = "server/livelens/static"
LEFT_OUT = shutil.ignore_patterns("node_modules", "__pycache__", ".*_cache", ".hypothesis", "test-results")
USER_SCRIPT = """
from livelens.client import Client, connect

client: Client = connect("http://127.0.0.1:1/")
reveal_type(client.model_info.n_layers)
client.no_such_method()
"""


@dataclass(frozen=True)
class Built:
    source: Path
    wheel: Path
    sdist: Path


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, text=True, capture_output=True, check=False
    )


def hatch(source: Path, out: Path, *targets: str) -> subprocess.CompletedProcess[str]:
    """Build with what is installed; no Node on PATH."""
    options = [option for target in targets for option in ("-t", target)]
    return run(sys.executable, "-m", "hatchling", "build", "-d", out, *options, cwd=source, env=without_node())


def without_node() -> dict[str, str]:
    return {**{name: value for name, value in os.environ.items() if name != "PYTHONPATH"}, "PATH": ""}


def build_page(source: Path) -> None:
    """As scripts/build_client.py does, with the packages that are installed already."""
    if not (source / "client" / "node_modules").exists():
        (source / "client" / "node_modules").symlink_to(ROOT / "client" / "node_modules")
    done = run("npm", "run", "--silent", "build", cwd=source / "client")
    assert done.returncode == 0, done.stderr


def page_hash(files: dict[str, bytes]) -> str:
    """What the wheel records: sha256 over names and contents, by name."""
    total = hashlib.sha256()
    for name in sorted(files, key=lambda name: name.split("/")):
        total.update(name.encode() + b"\0" + files[name])
    return total.hexdigest()


def page_in(wheel: Path) -> tuple[dict[str, bytes], str]:
    """The page's files in a wheel, and the recorded hash."""
    with zipfile.ZipFile(wheel) as archive:
        prefix = "livelens/static/"
        files = {
            name.removeprefix(prefix): archive.read(name) for name in archive.namelist() if name.startswith(prefix)
        }
        record = next(name for name in archive.namelist() if name.endswith("/page.sha256"))
        return files, archive.read(record).decode().strip()


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Page, wheel and sdist of a copy of this tree."""
    source, out = tmp_path_factory.mktemp("source") / "livelens", tmp_path_factory.mktemp("dist")
    source.mkdir()
    for name in ("server", "client", "shared_schema", "scripts", "docs", "examples"):
        shutil.copytree(ROOT / name, source / name, ignore=LEFT_OUT)
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, source / name)
    shutil.rmtree(source / STATIC, ignore_errors=True)
    build_page(source)
    done = hatch(source, out, "wheel", "sdist")
    assert done.returncode == 0, done.stderr
    return Built(source, next(out.glob("*.whl")), next(out.glob("*.tar.gz")))


@pytest.fixture(scope="session")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that has the wheel and, read only, everything it depends on."""
    venv = tmp_path_factory.mktemp("venv")
    assert run(sys.executable, "-m", "venv", "--without-pip", venv, cwd=venv).returncode == 0
    python = venv / "bin" / "python"
    options = ("--no-deps", "--no-index", "--quiet", "--disable-pip-version-check")
    done = run(sys.executable, "-m", "pip", "--python", python, "install", *options, built.wheel, cwd=venv)
    assert done.returncode == 0, done.stderr
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=venv).stdout.strip()
    Path(packages, "packages_of_the_tests.pth").write_text("\n".join(sorted(paths)) + "\n")
    found = run(python, "-c", "import livelens; print(livelens.__file__)", cwd=venv)
    assert found.stdout.startswith(str(venv)), found
    return python


def test_the_wheel_has_the_page_the_types_and_jupyters_files_and_no_sources(built: Built) -> None:
    names = zipfile.ZipFile(built.wheel).namelist()
    data = "livelens-0.1.0.data/data/"
    for wanted in (
        "livelens/static/index.html", "livelens/py.typed", "livelens/jupyter/extension.py",
        "livelens/notebook/picture.json",
        f"{data}etc/jupyter/jupyter_server_config.d/livelens.json",
        f"{data}share/jupyter/labextensions/livelens/package.json",
        f"{data}share/jupyter/labextensions/livelens/static/remoteEntry.js",
    ):  # fmt: skip
        assert wanted in names, wanted
    assert any(name.startswith("livelens/static/assets/") and name.endswith(".js") for name in names)
    strange = [name for name in names if not name.startswith(("livelens/", "livelens-0.1.0."))]
    assert not strange and not any("node_modules" in name or name.endswith((".ts", ".tsx")) for name in names)


def test_the_page_in_the_wheel_is_what_the_sdists_sources_build(built: Built, tmp_path: Path) -> None:
    """From the sdist: a wheel without Node carries the same page; the page built anew is the same, byte for byte."""
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    source = tmp_path / "livelens-0.1.0"
    assert hatch(source, tmp_path / "out", "wheel").returncode == 0
    first, recorded = page_in(built.wheel)
    again, recorded_again = page_in(next((tmp_path / "out").glob("*.whl")))
    assert first == again and recorded == recorded_again == page_hash(first)
    shutil.rmtree(source / STATIC)
    build_page(source)
    rebuilt = {
        path.relative_to(source / STATIC).as_posix(): path.read_bytes()
        for path in (source / STATIC).rglob("*")
        if path.is_file()
    }
    assert sorted(rebuilt) == sorted(first)
    assert page_hash(rebuilt) == recorded


@pytest.mark.parametrize("target", ["wheel", "sdist"])
def test_nothing_is_built_without_the_page(built: Built, tmp_path: Path, target: str) -> None:
    shutil.copytree(built.source, tmp_path / "source", ignore=LEFT_OUT)
    shutil.rmtree(tmp_path / "source" / STATIC)
    done = hatch(tmp_path / "source", tmp_path / "out", target)
    assert done.returncode != 0
    assert "build_client.py" in done.stderr
    assert not list(tmp_path.glob("out/*"))


def test_livelens_serves_its_page_where_there_is_no_node(installed: Path, tmp_path: Path) -> None:
    command = [installed.with_name("livelens"), "--model", "fake", "--json", "--no-browser", "--port", "0"]
    process = subprocess.Popen(command, cwd=tmp_path, env=without_node(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        assert "assets/index-" in fetch(ready["url"].partition("?")[0], ready["token"])
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


def fetch(url: str, token: str) -> str:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        return str(reply.read().decode())


def test_installing_is_enabling_in_jupyter(installed: Path, tmp_path: Path) -> None:
    """No configuration names the extension: server and JupyterLab find what the wheel put in place."""
    others = dict.fromkeys(("jupyterlab", "jupyter_lsp", "jupyter_server_terminals", "notebook_shim"), False)
    with jupyter_server(tmp_path, python=str(installed), extensions=others) as server:
        assert "assets/index-" in fetch(f"{server.origin}{server.base_url}livelens/", TOKEN)
    done = run(installed, "-m", "jupyterlab.labextensions", "list", cwd=tmp_path)
    assert "livelens v0.1.0" in done.stdout + done.stderr and "enabled" in done.stdout + done.stderr, done


def test_a_users_script_is_checked_against_our_types(installed: Path, tmp_path: Path) -> None:
    """mypy knows our types from the installed package, and finds what is wrong."""
    script = tmp_path / "script.py"
    script.write_text(USER_SCRIPT)
    # Our modules are followed, those of other packages that ours import are not: they take ten times as long.
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nstrict = True\nfollow_imports = skip\n[mypy-livelens.*]\nfollow_imports = normal\n"
    )
    options = ("--config-file", "mypy.ini", "--python-executable", installed, "--cache-dir", tmp_path / "cache")
    done = run(sys.executable, "-m", "mypy", *options, script, cwd=tmp_path)
    assert 'Revealed type is "int"' in done.stdout.replace("builtins.", ""), done
    assert '"Client" has no attribute "no_such_method"' in done.stdout
    assert "Found 1 error" in done.stdout, done.stdout


@pytest.mark.parametrize(("module", "missing", "extra"), [("livelens.jupyter", "jupyter_server", "jupyter")])
def test_a_missing_extra_is_named_and_only_missed_where_it_is_used(
    installed: Path, tmp_path: Path, module: str, missing: str, extra: str
) -> None:
    hidden = f"import sys; sys.modules[{missing!r}] = None\n"
    plain = "import livelens, livelens.client, livelens.serving\n"
    done = run(installed, "-c", hidden + plain, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(installed, "-c", hidden + f"import {module}", cwd=tmp_path)
    assert done.returncode == 1 and f'pip install "livelens[{extra}]"' in done.stderr, done.stderr
