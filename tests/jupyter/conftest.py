"""Jupyter servers that tests share, for they start slowly, and browsers that look at them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright
from tests.jupyter.jupyter_process import JupyterProcess, jupyter_server

from livelens.bench.chromium import LAUNCH_ARGS, find_chromium

PATIENCE_MSECS = 90_000
expect.set_options(PATIENCE_MSECS)
LABEXTENSIONS = Path(__file__).parents[2] / "server" / "jupyter_data" / "labextensions"


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterProcess]:
    """Jupyter's own defaults."""
    with jupyter_server(tmp_path_factory.mktemp("jupyter")) as server:
        yield server


@pytest.fixture(scope="session", params=[False, True], ids=["login-required", "unauthenticated-allowed"])
def either_jupyter(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[JupyterProcess]:
    """With `allow_unauthenticated_access` off and on: what livelens answers must not depend on it."""
    with jupyter_server(tmp_path_factory.mktemp("jupyter"), unauthenticated=bool(request.param)) as server:
        yield server


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterProcess]:
    """JupyterLab with two models allowed, of which none is loaded until somebody looks."""
    with jupyter_server(
        tmp_path_factory.mktemp("lab"),
        f"--LabApp.extra_labextensions_path={LABEXTENSIONS}",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--LabApp.expose_app_in_browser=True",  # `lab_driving` runs cells by it
        module="jupyterlab",
        extensions={"livelens.jupyter": True},
        models={"other": "fake:4x2x8@30", "small": "fake:3x2x24@30"},
    ) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=list(LAUNCH_ARGS))
        yield chromium
        chromium.close()


def is_ours(entry: ConsoleMessage) -> bool:
    """An error of our page or panel; JupyterLab logs its own, and Chromium that a kernel's view is no longer there."""
    is_gone = "No view of a kernel is here" in entry.text
    return entry.type == "error" and "livelens" in entry.location["url"] + entry.text and not is_gone


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A fresh browser; afterwards our page may have logged no error and no CSP report."""
    problems: list[str] = []
    context = browser.new_context(viewport={"width": 1400, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(PATIENCE_MSECS)
    opened = context.new_page()
    opened.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))
    opened.on("console", lambda entry: problems.append(entry.text) if is_ours(entry) else None)
    yield opened
    context.close()
    assert not problems
