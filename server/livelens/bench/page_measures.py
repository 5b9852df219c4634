"""The page's own times, in a real Chromium with WebGL in software."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from livelens.bench.chromium import LAUNCH_ARGS, find_chromium
from livelens.bench.measurement import Measurement
from livelens.bench.server_process import ServerProcess, serve

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Paced like a real model, so that what is timed is the page and not a fight for two cores.
_SMALL, _LARGE = "fake:30x9x1536@8", "fake:80x64x28672@2"
_TURNING_MS = 4000
_TIMEOUT_MS = 180_000
# Turns a little in every frame and counts the frames in which the scene was drawn.
_TURN = """(ms) => new Promise((resolve) => {
    const { scene } = window.livelens;
    const before = scene.stats().frames;
    const start = performance.now();
    const turn = (now) => {
        if (now - start >= ms) return resolve(1000 * (scene.stats().frames - before) / (now - start));
        scene.orbit(0.01, 0);
        requestAnimationFrame(turn);
    };
    requestAnimationFrame(turn);
})"""
_PICK = """(component) => {
    const { scene } = window.livelens;
    const point = scene.screen_position(component);
    const found = point && scene.pick(point.x, point.y);
    return !!found && ["kind", "layer", "index"].every((key) => found[key] === component[key]);
}"""


class SceneStats(msgspec.Struct, frozen=True):
    """Of what the scene counts, what is measured."""

    update_ms_median: float
    draw_calls: int
    n_cells: int


def page(say: Callable[[str], None]) -> list[Measurement]:
    """Both page sizes; without a browser, or Playwright, lines that say so."""
    try:
        import playwright.sync_api  # noqa: F401  the test extra brings it
    except ImportError:
        return [_unmeasured("Playwright is not installed: pip install 'livelens[test]'")]
    if find_chromium() is None:
        return [_unmeasured("no Chromium found: install one, or name it in LIVELENS_CHROMIUM")]
    say("the page with 46,080 neurons")
    small = _small()
    say("the page with 2.3 million neurons")
    return small + _large()


def _unmeasured(why: str) -> Measurement:
    return Measurement(name="page_main_thread_per_step", value=math.nan, unit="ms", target=2.0, note=why)


def _small() -> list[Measurement]:
    with serve(_SMALL) as server, _opened(server) as page:
        stats = _run(page, n_tokens=40)
    return [
        Measurement(name="page_main_thread_per_step", value=stats.update_ms_median, unit="ms", target=2.0),
        Measurement(name="page_draw_calls", value=stats.draw_calls, unit="calls", target=20.0),
    ]


def _large() -> list[Measurement]:
    with serve(_LARGE) as server, _opened(server) as page:
        stats = _run(page, n_tokens=12)
        frames_per_sec = float(page.evaluate(_TURN, _TURNING_MS))
        page.evaluate("component => window.livelens.scene.focus(component)", _FAR_NEURON)
        page.wait_for_function(_PICK, arg=_FAR_NEURON, timeout=_TIMEOUT_MS)
    cells = f"{stats.n_cells:,} cells"
    return [
        Measurement(
            name="large_page_main_thread_per_step",
            value=stats.update_ms_median,
            unit="ms",
            target=4.0,
            note=f"{cells}, loaded, turned and picked",
        ),
        Measurement(
            name="large_page_frames_per_second_turning",
            value=frames_per_sec,
            unit="frames/s",
            target=30.0,
            at_least=True,
            note="1280 x 720, software rasteriser",
        ),
    ]


_FAR_NEURON = {"kind": "neuron", "layer": 61, "index": 20_000}


@contextmanager
def _opened(server: ServerProcess) -> Iterator[Page]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(LAUNCH_ARGS))
        opened = browser.new_page(viewport={"width": 1280, "height": 720})
        opened.goto(server.url)
        opened.wait_for_function("() => window.livelens?.scene", timeout=_TIMEOUT_MS)
        yield opened
        browser.close()


def _run(page: Page, *, n_tokens: int) -> SceneStats:
    page.get_by_label("length").fill(str(n_tokens))
    page.get_by_role("textbox", name="Prompt").fill("The cat sat on the mat and")
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_function("() => window.livelens.store.run.value?.state === 'finished'", timeout=_TIMEOUT_MS)
    page.wait_for_function(
        "() => { const { run, history } = window.livelens.store; const { n_prompt_tokens, sampling } = run.value;"
        " return history.size >= n_prompt_tokens + sampling.max_new_tokens - 1; }",
        timeout=_TIMEOUT_MS,
    )
    return msgspec.convert(page.evaluate("() => window.livelens.scene.stats()"), SceneStats, strict=False)
