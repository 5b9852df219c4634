"""Live causal with the shipped model: a switch, measured tokens, the same text, and numbers that Python gives too."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page
from tests.browser import page_driving as driving
from tests.browser.page_driving import SLOW_MS, OpenPage, as_number, look_at

from livelens.bench.server_process import ServerProcess
from livelens.model.torch_engine import TorchEngine
from livelens.protocol.messages import Component

LAST = 13  # position of the prompt's last token
LIVE = "window.livelens.store.is_measuring_live.value"
MARKS = "window.livelens.scene.stats().draw_calls"


@pytest.fixture
def page(open_page: OpenPage, real_server: ServerProcess) -> Page:
    """A page at the Why tab, the switch still off."""
    opened = open_page(real_server)
    opened.set_default_timeout(SLOW_MS)
    opened.get_by_role("tab", name="Why", exact=True).click()
    return opened


def listed(page: Page) -> list[tuple[str, float, float]]:
    """The rows of the list: component, attributed, measured."""
    rows = page.locator(".live-causal tbody tr").all()
    numbers = [map(as_number, row.locator(".why-number").all_inner_texts()) for row in rows]
    return [(row.locator("button").inner_text(), *each) for row, each in zip(rows, numbers, strict=True)]


def component_of(name: str) -> Component:
    layer, dot, rest = name[1:].replace("H", ".").partition(".")
    assert dot
    return (
        Component(kind="mlp", layer=int(layer))
        if rest == "mlp"
        else Component(kind="head", layer=int(layer), index=int(rest))
    )


def test_every_new_token_is_measured_and_the_text_stays_the_same(page: Page, engine: TorchEngine) -> None:
    """Off, on by a click, off by the keyboard: the tokens do not change, and each number is what Python measures."""
    driving.run_to_end(page, driving.STORY, length=6)
    plain = driving.token_ids(page)
    page.get_by_role("button", name="Live", exact=True).click()
    page.get_by_text("Switch Live causal on").wait_for()
    page.locator("#live-causal").click()
    assert page.evaluate(LIVE) is True
    driving.run_to_end(page, driving.STORY, length=6)
    assert driving.token_ids(page) == plain
    for pos in (LAST, LAST + 3):
        look_at(page, pos)
        page.locator(f".live-causal tr[data-node$='@{pos}']").first.wait_for()
        rows = listed(page)
        assert len(rows) == 8
        sizes = [abs(attributed) for _, attributed, _ in rows]
        assert sizes == sorted(sizes, reverse=True)
        sequence = engine.open_sequence()
        captured = sequence.forward(plain[: pos + 1], masks=None, channels=frozenset({"causal_effects"}))
        parts = [component_of(name) for name, _, _ in rows]
        measured = captured.measured_effects(parts, target_id=plain[pos + 1], distractor_id=None)
        assert [effect for _, _, effect in rows] == pytest.approx(measured.tolist(), rel=1e-2, abs=2e-3)
        sequence.close()
    look_at(page, 3)
    page.get_by_text("was not measured as it was made").wait_for()
    page.locator("#live-causal").focus()
    page.keyboard.press("Space")
    assert page.evaluate(LIVE) is False


def test_signed_marks_stand_at_the_measured_cells(page: Page) -> None:
    """One more draw call while the switch is on; a click in the list selects the component everywhere."""
    page.locator("#live-causal").click()
    driving.run_to_end(page, driving.STORY, length=3)
    look_at(page, LAST)
    page.locator(f".live-causal tr[data-node$='@{LAST}']").first.wait_for()
    # The tab is open, so its paths are asked for and drawn, too.
    page.wait_for_function("pos => window.livelens.store.analysis.walk.graph.value?.metric.pos === pos", arg=LAST)
    driving.at_rest(page)
    with_marks, shown = page.evaluate(MARKS), driving.canvas_pixels(page)
    assert with_marks <= 20
    page.locator("#live-causal").click()
    page.wait_for_function(f"wanted => {MARKS} === wanted", arg=with_marks - 1)
    assert driving.canvas_pixels(page) != shown
    page.locator("#live-causal").click()
    row = page.locator(".live-causal tbody tr").nth(1)
    name = row.locator("button").inner_text()
    row.locator("button").click()
    part = component_of(name)
    assert driving.selected(page) == {"kind": part.kind, "layer": part.layer, "index": part.index}
    page.locator(".live-over").get_by_text(f"{name} over").wait_for()
    assert driving.axe_violations(page) == []
