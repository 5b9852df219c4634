"""What each part does, on the page, with the shipped model: profiles, the head finder, the causal map, the lens."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import SLOW_MS, OpenPage

from livelens.bench.server_process import ServerProcess

LAST = 13  # position of the prompt's last token


@pytest.fixture
def page(open_page: OpenPage, real_server: ServerProcess, story_run: str) -> Page:
    """A finished run, its last prompt token shown, the drawer open."""
    page = driving.open_run(open_page, real_server, story_run)
    driving.look_at(page, LAST)
    driving.open_panel(page)
    return page


def test_a_heads_profile_shows_its_induction_score_and_leads_to_who_feeds_it(page: Page) -> None:
    """L18H6 is the strongest induction head of this model."""
    driving.select(page, "head", 18, 6)
    expect(page.locator(".profile")).to_have_count(0)
    page.get_by_role("button", name="What this head does").click()
    score = page.locator("[data-score=induction] b")
    expect(score).to_have_text(re.compile(r"^0\.[89]\d?$"), timeout=SLOW_MS)
    expect(page.get_by_role("img", name="Pattern of L18H6 over")).to_be_visible()
    expect(page.locator(".reads .token").nth(7)).to_be_visible()
    assert driving.axe_violations(page) == []
    pattern = page.get_by_role("img", name="Pattern of L18H6 over")
    box = pattern.bounding_box()
    assert box is not None
    cell = box["width"] / (LAST + 3)
    pattern.click(position={"x": 4.5 * cell, "y": (LAST + 0.5) * box["height"] / (LAST + 3)})
    asked_for = page.locator(".reads [data-asked]")
    expect(asked_for).to_contain_text("from 4 “ went”", timeout=SLOW_MS)
    expect(page.locator(".map-column")).to_have_count(1)
    page.get_by_label("Key", exact=True).fill("2")
    page.keyboard.press("Enter")
    expect(asked_for).to_contain_text("from 2 “ and”", timeout=SLOW_MS)
    page.get_by_label("Query", exact=True).fill("9")
    page.keyboard.press("Enter")
    page.wait_for_function("() => window.livelens.store.current_pos.value === 9")
    expect(page.get_by_text("What it writes at 9 “ John”")).to_be_visible(timeout=SLOW_MS)
    feeder = page.get_by_role("list", name="Key: what is found").get_by_role("button").first
    name = feeder.inner_text().split()[0]
    feeder.click()
    expect(page.locator("#selected-id")).to_have_text(name)


def test_the_finder_sorts_by_induction_and_its_first_row_selects_that_head(page: Page) -> None:
    """By keys as well; a filter leaves the heads that have enough."""
    page.get_by_role("tab", name="Head finder").click()
    first = page.locator("#finder-grid-row-0")
    expect(first).to_contain_text("L18H6", timeout=SLOW_MS)
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
    assert driving.axe_violations(page) == []


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
    expect(page.locator(".causal-words").first).to_contain_text("30 attention layers", timeout=SLOW_MS)
    progress = page.evaluate("() => window.seen_progress")
    assert progress
    assert all(0 <= at["done"] <= at["total"] for at in progress)
    rows = page.locator(".measured tbody tr")
    expect(rows).to_have_count(30)
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
    expect(page.locator(".causal-words").first).to_contain_text("Spearman correlation")
    assert -1 <= strongest["spearman"] <= 1
    rows.first.get_by_role("button").click()
    assert driving.selected(page) == {"kind": "attn", "layer": strongest["layer"], "index": 0}
    assert driving.axe_violations(page) == []


def test_a_causal_map_can_be_cancelled_and_asked_again(page: Page) -> None:
    """All heads are called off at the first progress; what comes after is not shown."""
    page.get_by_role("tab", name="Causal map").click()
    page.get_by_role("button", name="Measure after 13").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator(".working")).to_have_count(0)
    assert page.evaluate("() => window.livelens.store.analysis.causal_map.slot.value.answer") is None
    page.get_by_label("Which parts").select_option("mlps")
    page.get_by_role("button", name="Measure after 13").click()
    expect(page.locator(".causal-words").first).to_contain_text("30 MLPs", timeout=SLOW_MS)


def test_a_neurons_profile_shows_its_loudest_places(page: Page) -> None:
    """Each is a button that shows the token."""
    driving.select(page, "neuron", 20, 100)
    page.get_by_role("button", name="What this neuron does").click()
    place = page.locator(".contexts button").nth(2)
    expect(place).to_be_visible(timeout=SLOW_MS)
    pos = int(re.sub(r"\D", "", place.get_attribute("title") or ""))
    place.click()
    page.wait_for_function("pos => window.livelens.store.current_pos.value === pos", arg=pos)
    page.get_by_role("list", name="Writes alike").get_by_role("button").first.click()
    expect(page.locator("#selected-id")).not_to_have_text("L20N100")
    assert (driving.selected(page) or {})["kind"] == "neuron"


def test_a_neuron_is_followed_through_the_runs_of_this_tab_and_no_others(
    open_page: OpenPage, real_server: ServerProcess
) -> None:
    """Against what the page itself rebuilt of the first run; another tab, a new viewer, is shown none of it."""
    page = open_page(real_server)
    page.set_default_timeout(SLOW_MS)
    driving.run_to_end(page, "The Eiffel Tower is in", length=4)
    first = driving.run_id(page)
    loudest = page.evaluate(
        """async () => {
            const { store, connection } = window.livelens;
            const info = store.model_info.value, at = 20 * info.d_mlp + 100;
            const found = store.history.positions().map((pos) => {
                const { neurons, neurons_scale } = store.history.get(pos).tensors;
                const root = neurons.values[at] / 127;
                return [Math.sign(root) * root * root * neurons_scale.values[20], pos];
            });
            return found.sort((a, b) => Math.abs(b[0]) - Math.abs(a[0]))[0];
        }"""
    )
    driving.run_to_end(page, "Something else, then", length=2)
    driving.select(page, "neuron", 20, 100)
    page.get_by_role("button", name="What this neuron does").click()
    past = page.locator(".contexts[data-past] a")
    expect(past.first).to_be_visible(timeout=SLOW_MS)
    assert past.first.get_attribute("href") == f"#run={first}"
    assert f"Position {loudest[1]} of another run" in (past.first.get_attribute("title") or "")
    assert driving.as_number(past.first.locator(".number").inner_text()) == pytest.approx(loudest[0], rel=1e-2)
    with page.expect_popup() as opened:
        past.first.click()
    other = opened.value
    other.wait_for_function("run_id => window.livelens?.store.run.value?.run_id === run_id", arg=first)

    stranger = open_page(real_server)
    driving.run_to_end(stranger, "A tab of its own", length=2)
    driving.select(stranger, "neuron", 20, 100)
    stranger.get_by_role("button", name="What this neuron does").click()
    expect(stranger.locator(".profile")).to_contain_text("The server has no other run of this tab.", timeout=SLOW_MS)


def test_the_lens_grid_shows_tokens_and_layers_and_a_click_goes_there(page: Page) -> None:
    """Pointing at a cell says its numbers; another colour tints the same cells otherwise."""
    page.get_by_role("tab", name="Logit lens").click()
    page.wait_for_function(
        "() => { const { history } = window.livelens.store;"
        " return history.positions().every((pos) => history.get(pos).lens_texts?.length === 30); }"
    )
    cell = page.locator(f'.lens-table [data-cell="{LAST} 28"]')  # which columns there are hangs on the window's width
    expect(cell).not_to_have_attribute("data-none", "true")
    cell.hover()
    expect(page.locator(".lens-reading")).to_contain_text("After layer 28 at ")
    before = cell.get_attribute("style")
    page.get_by_label("Colour by").select_option("entropy")
    expect(cell).not_to_have_attribute("style", before or "")
    cell.click()
    assert driving.selected(page) == {"kind": "mlp", "layer": 28, "index": 0}
