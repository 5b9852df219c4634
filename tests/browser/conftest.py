"""A real Chromium, a real server, a page whose errors fail the test."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from tests.browser.page_driving import STORY, OpenPage, opened_pages

from livelens.bench.chromium import LAUNCH_ARGS, find_chromium
from livelens.bench.server_process import ServerProcess, serve
from livelens.client import connect
from livelens.protocol.messages import CHANNELS, MEASURED_CHANNELS

PATIENCE_MS = 30_000  # as long as Playwright waits for all else: machines are shared


@pytest.fixture(scope="module")  # Playwright keeps an event loop running, which asyncio tests elsewhere must not meet
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=PATIENCE_MS)
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


@pytest.fixture(scope="session")
def story_run(real_server: ServerProcess) -> str:
    """A run of the shipped model on `STORY`, three tokens, ended: for whoever only looks at it and asks about it."""

    async def made() -> str:
        async with connect(real_server.url) as client:
            channels = [channel for channel in CHANNELS if channel not in MEASURED_CHANNELS]
            run = await client.start_run(STORY, channels=channels, max_new_tokens=3)
            await run.finished()
            return run.run_id

    with ThreadPoolExecutor(1) as thread:  # Playwright's own loop is in this one
        return thread.submit(asyncio.run, made()).result()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[OpenPage]:
    """Open pages in fresh contexts; afterwards none may have logged an error or a CSP report."""
    with opened_pages(browser) as open_one:
        yield open_one
