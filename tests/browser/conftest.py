"""A real Chromium, a real server, a page whose errors fail the test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, sync_playwright
from tests.browser.page_driving import OpenPage

from livelens.bench.chromium import LAUNCH_ARGS, find_chromium
from livelens.bench.server_process import ServerProcess, serve


@pytest.fixture(scope="module")  # Playwright keeps an event loop running, which asyncio tests elsewhere must not meet
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=list(LAUNCH_ARGS))
        yield chromium
        chromium.close()


@pytest.fixture(scope="session")
def fake_server() -> Iterator[ServerProcess]:
    """The small deterministic engine: quick, and its text changes under an ablation."""
    with serve("fake", ["--grace-secs", "3"]) as server:
        yield server


@pytest.fixture(scope="session")
def real_server() -> Iterator[ServerProcess]:
    """The shipped model."""
    with serve("smollm2") as server:
        yield server


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open pages in fresh contexts; afterwards none may have logged an error or a CSP report."""
    problems: list[str] = []
    contexts = []

    def opened(
        server: ServerProcess, *, fragment: str = "", width: int = 1400, height: int = 900, **options: object
    ) -> Page:
        options.setdefault("reduced_motion", "reduce")  # the camera jumps, so that a place on the screen is final
        context = browser.new_context(viewport={"width": width, "height": height}, **options)  # type: ignore[arg-type]
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))
        page.on("console", lambda entry: problems.append(entry.text) if entry.type == "error" else None)
        page.goto(server.url + fragment)
        page.wait_for_function("() => window.livelens?.store.model_info.value")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not problems
