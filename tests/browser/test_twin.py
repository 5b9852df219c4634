"""The clean twin on the page: switched on in the middle, it shows at the next token what an ablation does."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import OpenPage

from livelens.bench.server_process import ServerProcess
from livelens.client import connect

PROMPT = "The cat sat on the mat and"
LAYER, HEAD = 3, 1
STEP = "window.livelens.store.history.get(window.livelens.store.history.newest_pos)"


def one_token(page: Page) -> int:
    """Make exactly one token and let it be drawn; its position."""
    pos = driving.step(page)
    driving.drawn(page)
    return pos


def switch_twin(page: Page, label: str, mode: str) -> None:
    page.get_by_role("group", name="Clean twin").first.get_by_role("button", name=label).click()
    page.wait_for_function("mode => window.livelens.store.run.value.twin === mode", arg=mode)


def wire_difference(server: ServerProcess, run_id: str, pos: int) -> dict[str, np.ndarray]:
    """What another viewer, in Python, is sent of the same position."""

    async def fetch() -> dict[str, np.ndarray]:
        async with connect(server.url) as client:
            run = await client.join_run(run_id, channels=("neurons", "heads", "difference"))
            await run.until(lambda held: pos in held.steps and "difference_heads" in held.steps[pos].tensors)
            return dict(run.steps[pos].tensors)

    with ThreadPoolExecutor(1) as thread:  # Playwright's own loop is in this one
        return thread.submit(asyncio.run, fetch()).result()


def test_switched_on_in_the_middle_it_shows_an_ablation_at_the_next_token(
    open_page: OpenPage, fake_server: ServerProcess
) -> None:
    page = open_page(fake_server)
    driving.hold_run(page, PROMPT, length=24)
    switch_twin(page, "Same text", "teacher_forced")
    expect(page.get_by_role("tab", name="Clean twin")).to_have_attribute("aria-selected", "true")
    one_token(page)
    assert page.evaluate(f"() => {STEP}.twin.kl") == pytest.approx(0, abs=1e-9)
    page.keyboard.press("c")
    expect(page.get_by_label("Legend")).to_contain_text("its clean twin")
    page.get_by_role("button", name="Front view").click()
    same = driving.canvas_pixels(page)

    driving.ablate(page, "head", LAYER, HEAD)
    pos = one_token(page)
    assert page.evaluate(f"() => {STEP}.twin.kl") > 1e-6
    expect(page.locator("#twin-kl")).not_to_have_text("0")
    page.evaluate("() => { window.livelens.store.selection.value = null; }")
    assert driving.canvas_pixels(page) != same

    wire = wire_difference(fake_server, driving.run_id(page), pos)
    assert wire["heads"][LAYER, HEAD] == 0
    assert wire["difference_heads"][LAYER, HEAD] < 0
    codes = wire["difference_neurons"].astype(np.float32) / 127
    neurons = np.sign(codes) * codes**2 * wire["difference_neurons_scale"][:, None]
    loudest = np.unravel_index(np.abs(neurons).argmax(), neurons.shape)
    mlp = int(np.abs(wire["difference_mlp_out"]).argmax())
    for kind, layer, index, value in (
        ("head", LAYER, HEAD, wire["difference_heads"][LAYER, HEAD]),
        ("neuron", *map(int, loudest), neurons[loudest]),
        ("mlp", mlp, 0, wire["difference_mlp_out"][mlp]),
    ):
        driving.select(page, kind, layer, index)
        expect(page.locator("#difference-twin-value")).to_be_visible()
        assert abs(value) > 0.001  # four digits are shown
        assert driving.number(page, "#difference-twin-value") == pytest.approx(value, rel=1e-3)


def test_a_twin_that_writes_its_own_text_parts_and_survives_a_reload(
    open_page: OpenPage, fake_server: ServerProcess
) -> None:
    page = open_page(fake_server)
    driving.hold_run(page, PROMPT, length=24)
    switch_twin(page, "Own text", "free_running")
    for layer in (3, 15, 27):
        driving.ablate(page, "attn", layer)
    driving.resume(page)
    parting = page.locator(".twin #parting")
    at = int(parting.inner_text())
    own = driving.token_ids(page)
    texts = page.locator(".twin .branch-text")
    expect(texts).to_have_count(2)
    assert texts.nth(0).inner_text() != texts.nth(1).inner_text()
    page.locator(f'.twin .branch-token[title="Token {at}"]').first.click()
    assert page.evaluate("() => window.livelens.store.current_pos.value") == at

    page.keyboard.press("c")
    page.wait_for_function("() => location.hash.includes('beside=twin')")
    page.reload()
    page.wait_for_function("n => window.livelens?.store.tokens.value.length === n", arg=len(own))
    page.wait_for_function("() => window.livelens.store.analysis.comparison.view.value === 'twin'")
    page.wait_for_function(
        "pos => window.livelens.store.history.get(pos)?.tensors.difference_heads",
        arg=at,
    )
    page.get_by_role("tab", name="Clean twin").click()
    expect(parting).to_have_text(str(at))
