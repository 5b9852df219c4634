"""`livelens serve` behind jupyter-server-proxy, below a path prefix: started as docs/jupyter.md says."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Response, sync_playwright
from tests.browser.page_driving import run_to_end, token_ids
from tests.jupyter.jupyter_process import ONLY_OURS, TOKEN, JupyterProcess, jupyter_server

from livelens.bench.chromium import LAUNCH_ARGS, find_chromium
from livelens.bench.server_process import serve


@pytest.fixture(scope="module")
def proxying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[JupyterProcess]:
    extensions = {**ONLY_OURS, "livelens.jupyter": False, "jupyter_server_proxy": True}
    with jupyter_server(tmp_path_factory.mktemp("proxying"), extensions=extensions) as server:
        yield server


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=find_chromium(), args=list(LAUNCH_ARGS))
        yield chromium
        chromium.close()


def test_the_page_generates_behind_the_proxy(proxying: JupyterProcess, browser: Browser) -> None:
    """By the name that livelens was told of a run goes through; by another the page is refused in words."""
    context = browser.new_context()
    page = context.new_page()
    told = proxying.origin
    untold = told.replace("127.0.0.1", "localhost")
    with serve("fake:3x2x24", ["--allow-host", urlsplit(told).netloc, "--allow-origin", told]) as server:
        address = urlsplit(server.url)

        def go(origin: str) -> Response | None:
            page.goto(f"{origin}{proxying.base_url}api?token={TOKEN}")  # logs in to Jupyter, whose proxy wants it
            return page.goto(f"{origin}{proxying.base_url}proxy/{address.port}/?{address.query}")

        go(told)
        page.wait_for_function("() => window.livelens?.store.model_info.value")
        assert "token" not in page.url
        run_to_end(page, "When Mary and John", length=8)
        assert len(token_ids(page)) > 8
        refused = go(untold)
        assert refused is not None
        assert refused.status == 403
        assert "--allow-host" in page.inner_text("body")
    context.close()
