"""Two prompts on the page, with the shipped model: maps, numbers that are the server's, clicks, keys, refusals."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import SLOW_MS, OpenPage

from livelens.bench.server_process import ServerProcess

OTHER = "When Mary and John went to the store, Mary gave a drink to"
GIVER, LAST = 9, 13
SLOT = "window.livelens.store.analysis.patching.slot"


@pytest.fixture
def page(open_page: OpenPage, real_server: ServerProcess, story_run: str) -> Page:
    """A finished run, its last prompt token shown, the tab open and filled in."""
    page = driving.open_run(open_page, real_server, story_run)
    driving.look_at(page, LAST)
    driving.open_tab(page, "Two prompts")
    page.get_by_label("Target token").fill(" Mary")
    page.get_by_label("Distractor token").fill(" John")
    return page


def test_what_brings_mary_back_is_shown_and_leads_to_its_token(page: Page) -> None:
    """The answer's numbers stand in the table and under the pointer; a cell and a row select part and token."""
    page.evaluate(
        f"""() => {{
            window.seen_progress = [];
            {SLOT}.subscribe(({{ progress }}) => {{ if (progress?.total) window.seen_progress.push(progress); }});
        }}"""
    )
    button = page.get_by_role("button", name=re.compile("Change a word|Patch up to"))
    expect(button).to_be_disabled()
    page.get_by_label("Second prompt").fill(OTHER)
    page.get_by_role("button", name="Patch up to 13").click()
    page.wait_for_function(f"() => {SLOT}.value.answer || {SLOT}.value.error", timeout=SLOW_MS)
    assert page.evaluate(f"() => {SLOT}.value.error") is None
    seen = page.evaluate("() => window.seen_progress")
    assert len(seen) > 5
    assert seen[-1]["done"] <= seen[-1]["total"]
    assert driving.number(page, "#clean-value") == pytest.approx(6.12, abs=0.02)
    assert driving.number(page, "#corrupted-value") == pytest.approx(-5.49, abs=0.02)
    expect(page.locator(".patch-columns [data-differs]").first).to_have_text("John/Mary")
    assert driving.axe_violations(page) == []

    stream = page.get_by_role("img", name="Stream before the layer")
    n_layers, n_pos = 30, LAST + 1
    box = stream.bounding_box()
    assert box is not None
    layer = 21
    stream.hover(
        position={"x": box["width"] * (GIVER + 0.5) / n_pos, "y": box["height"] * (n_layers - layer - 0.5) / n_layers}
    )
    value = page.evaluate(f"i => {SLOT}.value.answer.resid_pre.values[i]", layer * n_pos + GIVER)
    assert 0.4 < value < 0.8
    reading = page.locator(".patching-reading")
    expect(reading).to_contain_text(f"Stream before L{layer} at 9 “ John” (other: “ Mary”)")
    assert float(reading.inner_text().split("+")[1].split()[0]) == pytest.approx(value, abs=6e-3)
    page.mouse.down()
    page.mouse.up()
    assert driving.selected(page) == {"kind": "mlp", "layer": layer - 1, "index": 0}
    assert page.evaluate("() => window.livelens.store.current_pos.value") == GIVER

    page.get_by_label("Maps").select_option("heads")
    first = page.locator(".patching-table tbody tr").first
    expect(first).to_contain_text("L23H3")
    first.get_by_role("button").click()
    assert driving.selected(page) == {"kind": "head", "layer": 23, "index": 3}
    assert page.evaluate("() => window.livelens.store.current_pos.value") == LAST
    heads = page.get_by_role("img", name="Heads, last token")
    heads.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowRight", "Enter"):  # the first key points at what is selected
        page.keyboard.press(key)
    assert driving.selected(page) == {"kind": "head", "layer": 22, "index": 4}
    page.get_by_label("Maps").select_option("apart")
    expect(page.get_by_role("img", name="Stream: |difference| / |other|")).to_be_visible()
    page.evaluate("() => (window.livelens.store.theme.value = 'light')")
    driving.drawn(page)
    assert driving.axe_violations(page) == []


def test_a_second_prompt_of_another_length_is_refused_in_one_sentence_and_work_can_be_called_off(page: Page) -> None:
    page.get_by_label("Second prompt").fill(OTHER + " the")
    page.get_by_role("button", name="Patch up to 13").click()
    alert = page.locator(".patching [role=alert]")
    expect(alert).to_contain_text("15 tokens and the run's has 14", timeout=SLOW_MS)
    expect(alert).to_contain_text("1 token less")
    page.get_by_label("Second prompt").fill(OTHER)
    page.get_by_role("button", name="Patch up to 13").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("button", name="Patch up to 13")).to_be_visible()
    page.wait_for_function(f"() => !{SLOT}.value.answer && !{SLOT}.value.progress")
