"""A view in a notebook's kernel, through the extension: who gets in, what is connected to, and JupyterLab itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Frame, Page, TimeoutError
from tests.browser.page_driving import canvas_point, run_to_end
from tests.integration.serving import PROMPT, reserved_port
from tests.jupyter.jupyter_process import BASE_URL, TOKEN, JupyterProcess, jupyter_server
from tests.jupyter.lab_driving import open_notebook, restart_kernel, run_cell, said, wait_run
from tests.jupyter.test_auth import cookie_of, request, upgrade

import livelens
from livelens.client import LivelensError, connect
from livelens.transport.kernel_files import ViewFile, view_path, write_file

KNOWN = {"Authorization": f"token {TOKEN}"}


def files_of(server: JupyterProcess) -> Path:
    """Where its kernels leave their files."""
    return server.folder / "jupyter_runtime_dir"


async def test_a_kernels_view_is_reached_under_jupyters_login_alone(jupyter: JupyterProcess) -> None:
    server, files = jupyter, files_of(jupyter)
    view = await asyncio.to_thread(livelens.view, "fake:3x2x24")
    view_id = secrets.token_urlsafe(24)
    path = view_path(files, view_id)
    write_file(path, ViewFile(port=view._own.port, token=view._own.token, pid=os.getpid()))
    at = f"livelens/kernel/{view_id}/"
    cookie = await cookie_of(server)
    assert (await request(server, at, Cookie=cookie)).status == 200
    for headers in ({}, {"Authorization": "token wrong"}, {"Origin": "http://evil.example"}):
        stranger = await request(server, at, **headers)
        assert stranger.status == 302 and stranger.headers["Location"].startswith(f"{server.base_url}login")
        assert (await upgrade(server, at + "ws", **headers)).status == 403
    assert (await upgrade(server, at + "ws", Cookie=cookie, Origin="http://evil.example")).status == 403
    assert (await upgrade(server, at + "ws", Authorization=f"Bearer {view._own.token}")).status == 403
    assert (await request(server, at, host="evil.example", Cookie=cookie)).status == 403

    async with connect(f"{server.origin}{server.base_url}{at}", token=TOKEN) as client:
        assert client.model_info == view.model_info
        run = await client.start_run(PROMPT, max_new_tokens=40)
        await run.finished()
        own = await view.generate.aio(PROMPT, max_new_tokens=40)
        await own.finish.aio()
        assert own.run.token_ids == run.token_ids and len(run.steps) == len(own.run.steps)
        await asyncio.to_thread(view.close)
    with pytest.raises(LivelensError, match="kernel no longer serves"):
        async with connect(f"{server.origin}{server.base_url}{at}", token=TOKEN, reconnect_secs=0):
            pass
    path.unlink()


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Where nobody listens."""
    with reserved_port() as port:
        yield port


async def test_nothing_but_a_private_file_decides_what_is_connected_to(
    jupyter: JupyterProcess, silent_port: int
) -> None:
    """No id leads elsewhere; a file that others could write, or of a kernel that has ended, is none."""
    server, files = jupyter, files_of(jupyter)
    mine = ViewFile(port=silent_port, token="t" * 43, pid=os.getpid())
    good, public, dead = (secrets.token_urlsafe(24) for _ in range(3))
    for view_id, content in ((good, mine), (public, mine), (dead, ViewFile(port=40000, token="t" * 43, pid=2**22 - 3))):
        write_file(view_path(files, view_id), content)
    view_path(files, public).chmod(0o644)
    (files / "kernel-0123456789abcdef01234567.json").write_text("{}")
    for name in (
        public,
        dead,
        "x" * 22,
        "..%2f" * 8,
        "kernel-0123456789abcdef01234567",
        "127.0.0.1:22",
        good + ".json",
    ):
        for path in ("", "ws", "health"):
            assert (await request(server, f"livelens/kernel/{name}/{path}", **KNOWN)).status == 404, (name, path)
        assert (await upgrade(server, f"livelens/kernel/{name}/ws", **KNOWN)).status == 404, name
    assert not view_path(files, dead).exists() and view_path(files, public).exists()
    with pytest.raises(LivelensError, match="kernel no longer serves"):  # nobody listens there
        async with connect(f"{server.origin}{server.base_url}livelens/kernel/{good}/", token=TOKEN, reconnect_secs=0):
            pass


def test_kernels_are_told_where_jupyter_is_while_it_runs(tmp_path: Path) -> None:
    with jupyter_server(tmp_path) as server:
        found = tmp_path / "jupyter_runtime_dir" / f"livelens-server-{server.process.pid}.json"
        deadline = time.monotonic() + 60
        while not found.exists() and time.monotonic() < deadline:  # it accepts connections a moment before
            time.sleep(0.01)
        assert json.loads(found.read_text()) == {"base_url": BASE_URL} and found.stat().st_mode & 0o777 == 0o600
    assert not found.exists()


CELLS = (
    'import livelens\nview = livelens.view("fake:3x2x24")\n'
    'generation = view.generate("When Mary and John went to the store", max_new_tokens=12).finish()\n'
    "view.show(height=520)",
    'print("clicked:", view.selection.name)',
    'view.select("L2H0")\nview.ablate("L1H1")\n'
    'run = view.generate("Once upon a time", max_new_tokens=8).finish().run\nprint("tokens:", *run.token_ids)',
    'print("off:", view.ablated, "| prompt:", view.generation.run.prompt)',
)


FRAME = ".jp-OutputArea iframe[title='livelens']"


def shown(page: Page, *, before: str = "") -> Frame:
    """Run the first cell; the page in its output, not the one of `before`, once it has met the kernel."""
    run_cell(page, 0)
    wait_run(page, 0)
    has_come = "([selector, before]) => ![before, undefined].includes(document.querySelector(selector)?.src)"
    page.wait_for_function(has_come, arg=[FRAME, before])
    frame = page.locator(FRAME).element_handle().content_frame()
    assert frame is not None
    frame.wait_for_function("() => window.livelens?.store.run.value?.state === 'finished'")
    return frame


def click_head(page: Page, frame: Frame) -> None:
    """L1H0, until it is selected: a page that has just begun hears nothing for a moment."""
    element = page.locator(FRAME)
    element.scroll_into_view_if_needed()
    for _ in range(6):
        corner = element.bounding_box()
        assert corner is not None
        x, y = canvas_point(frame, "head", 1, 0)
        page.mouse.click(corner["x"] + x, corner["y"] + y)
        with contextlib.suppress(TimeoutError):
            frame.wait_for_function("() => window.livelens.store.selection.value?.layer === 1", timeout=10_000)
            return


def test_the_page_in_an_output_cell_and_its_view_go_together(lab: JupyterProcess, page: Page) -> None:
    """A click is seen in Python, what Python does is seen in the page; and a kernel that restarts holds nothing up."""
    open_notebook(page, lab, "shown.ipynb", CELLS)
    frame = shown(page)
    assert frame.url.startswith(f"{lab.origin}{BASE_URL}livelens/kernel/") and "share=" not in frame.url
    first_run = frame.evaluate("() => window.livelens.store.run.value.run_id")
    click_head(page, frame)
    assert said(page, 1) == "clicked: L1H0"

    token_ids = [int(word) for word in said(page, 2).split()[1:]]
    frame.wait_for_function("id => window.livelens.store.run.value.run_id !== id", arg=first_run)
    frame.wait_for_function("n => window.livelens.store.tokens.value.length === n", arg=len(token_ids))
    assert frame.evaluate("() => window.livelens.store.tokens.value.map((token) => token.token_id)") == token_ids
    assert frame.evaluate("() => window.livelens.store.selection.value") == {"kind": "head", "layer": 2, "index": 0}
    ablated = frame.evaluate("() => window.livelens.store.interventions.value.map((spec) => spec.intervention_id)")
    assert ablated == ["L1H1"]

    run_to_end(frame, "When Ada went to the sea", length=6)
    assert said(page, 3) == "off: ['L1H1'] | prompt: When Ada went to the sea"

    before = page.locator(FRAME).evaluate("frame => frame.src")
    restart_kernel(page)
    frame.wait_for_function("() => window.livelens.store.connection_message.value?.includes('run its cell again')")
    shown(page, before=before)
    assert said(page, 1) == "clicked: None"
