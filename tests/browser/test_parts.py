"""What each part does, on the page, with the shipped model: profiles, the head finder, the causal map, the lens."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import AXE, OpenPage

from livelens.bench.server_process import ServerProcess

PROMPT = "When Mary and John went to the store, John gave a drink to"
LAST = 13  # position of the prompt's last token
ANSWER_MS = 120_000  # a first profile measures the model; the machine may be shared


@pytest.fixture
def page(open_page: OpenPage, real_server: ServerProcess) -> Page:
    """A finished run, its last prompt token shown, the drawer open."""
    page = open_page(real_server)
    driving.run_to_end(page, PROMPT, length=3)
    page.locator(".chips button").nth(LAST).click()
    page.wait_for_function("pos => window.livelens.store.current_pos.value === pos", arg=LAST)
    if page.locator('.drawer[data-open="true"]').count() == 0:
        page.get_by_role("button", name="Open the panel").click()
    return page


def select(page: Page, kind: str, layer: int, index: int) -> None:
    page.evaluate(
        "component => (window.livelens.store.selection.value = component)",
        {"kind": kind, "layer": layer, "index": index},
    )


def axe_violations(page: Page) -> list[str]:
    page.evaluate(AXE.read_text())
    return list(
        page.evaluate(
            "async () => (await axe.run()).violations.map((found) => `${found.id}: ${found.nodes.map((n) => n.html)}`)"
        )
    )


def test_a_heads_profile_shows_its_induction_score_and_leads_to_who_feeds_it(page: Page) -> None:
    """L18H6 is the strongest induction head of this model."""
    select(page, "head", 18, 6)
    expect(page.locator(".profile")).to_have_count(0)
    page.get_by_role("button", name="What this head does").click()
    score = page.locator("[data-score=induction] b")
    expect(score).to_have_text(re.compile(r"^0\.[89]\d?$"), timeout=ANSWER_MS)
    expect(page.get_by_role("img", name="Pattern of L18H6 over")).to_be_visible()
    assert page.locator(".reads .token").count() >= 8
    assert axe_violations(page) == []
    feeder = page.get_by_role("list", name="Key: what is found").get_by_role("button").first
    name = feeder.inner_text().split()[0]
    feeder.click()
    expect(page.locator("#selected-id")).to_have_text(name)


def test_the_finder_sorts_by_induction_and_its_first_row_selects_that_head(page: Page) -> None:
    """By keys as well; a filter leaves the heads that have enough."""
    page.get_by_role("tab", name="Head finder").click()
    first = page.locator("#finder-row-0")
    expect(first).to_contain_text("L18H6", timeout=ANSWER_MS)
    first.click()
    assert driving.selected(page) == {"kind": "head", "layer": 18, "index": 6}
    page.locator("#finder-grid").focus()
    page.keyboard.press("ArrowDown")
    assert driving.selected(page) == {"kind": "head", "layer": 17, "index": 3}
    page.get_by_label("Induction at least").fill("0.5")
    expect(page.get_by_role("status").filter(has_text="heads")).to_have_text("4 heads")
    page.get_by_role("button", name="Previous token").click()
    page.get_by_label("Induction at least").fill("")
    expect(first).not_to_contain_text("L18H6")
    assert axe_violations(page) == []


def test_the_causal_map_of_the_attention_layers_shows_progress_and_figures(page: Page) -> None:
    """The figures on the page are those of the answer; a row selects its component."""
    page.get_by_role("tab", name="Causal map").click()
    page.get_by_label("Which parts").select_option("attn")
    page.evaluate(
        """() => {
            window.seen_progress = [];
            window.livelens.store.analysis.causal_map.slot.subscribe(({ progress }) => {
                if (progress?.total) window.seen_progress.push(progress);
            });
        }"""
    )
    page.get_by_role("button", name="Measure after 13").click()
    expect(page.locator(".causal-words").first).to_contain_text("30 attention layers", timeout=ANSWER_MS)
    progress = page.evaluate("() => window.seen_progress")
    assert progress
    assert all(0 <= at["done"] <= at["total"] for at in progress)
    rows = page.locator(".measured tbody tr")
    assert rows.count() == 30
    strongest = page.evaluate(
        """() => {
            const { components, effects, spearman } = window.livelens.store.analysis.causal_map.slot.value.answer;
            const sizes = Array.from(effects.values, Math.abs);
            const at = sizes.indexOf(Math.max(...sizes));
            return { layer: components[at].layer, effect: effects.values[at], spearman };
        }"""
    )
    cells = rows.first.locator("th, td").all_inner_texts()
    assert cells[0] == f"L{strongest['layer']}.attn"
    assert float(cells[1].replace("−", "-")) == pytest.approx(strongest["effect"], rel=0.01)
    assert "Spearman correlation" in page.locator(".causal-words").first.inner_text()
    assert -1 <= strongest["spearman"] <= 1
    rows.first.get_by_role("button").click()
    assert driving.selected(page) == {"kind": "attn", "layer": strongest["layer"], "index": 0}
    assert axe_violations(page) == []


def test_a_causal_map_can_be_cancelled_and_asked_again(page: Page) -> None:
    """All heads are called off at the first progress; what comes after is not shown."""
    page.get_by_role("tab", name="Causal map").click()
    page.get_by_role("button", name="Measure after 13").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".working")).to_have_count(0)
    assert page.evaluate("() => window.livelens.store.analysis.causal_map.slot.value.answer") is None
    page.get_by_label("Which parts").select_option("mlps")
    page.get_by_role("button", name="Measure after 13").click()
    expect(page.locator(".causal-words").first).to_contain_text("30 MLPs", timeout=ANSWER_MS)


def test_a_neurons_profile_shows_its_loudest_places(page: Page) -> None:
    """Each is a button that shows the token."""
    select(page, "neuron", 20, 100)
    page.get_by_role("button", name="What this neuron does").click()
    place = page.locator(".contexts button").nth(2)
    expect(place).to_be_visible(timeout=ANSWER_MS)
    pos = int(re.sub(r"\D", "", place.get_attribute("title") or ""))
    place.click()
    page.wait_for_function("pos => window.livelens.store.current_pos.value === pos", arg=pos)
    page.get_by_role("list", name="Writes alike").get_by_role("button").first.click()
    assert (driving.selected(page) or {})["kind"] == "neuron"


def test_the_lens_grid_shows_tokens_and_layers_and_a_click_goes_there(page: Page) -> None:
    """Pointing at a cell says its numbers; another colour tints the same cells otherwise."""
    page.get_by_role("tab", name="Logit lens").click()
    page.wait_for_function(
        "() => { const { history } = window.livelens.store;"
        " return history.positions().every((pos) => history.get(pos).lens_texts?.length === 30); }"
    )
    cells = page.locator(".lens-table tbody tr").nth(1).locator(".cell")
    expect(cells.first).not_to_have_attribute("data-none", "true")
    cells.nth(4).hover()
    expect(page.locator(".lens-reading")).to_contain_text("After layer 28 at ")
    before = cells.nth(4).get_attribute("style")
    page.get_by_label("Colour by").select_option("entropy")
    expect(cells.nth(4)).not_to_have_attribute("style", before or "")
    cells.nth(4).click()
    assert driving.selected(page) == {"kind": "mlp", "layer": 28, "index": 0}
