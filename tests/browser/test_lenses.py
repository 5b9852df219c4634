"""What lies at a token, on the page, with the shipped model: a cell in words, heads, paths in the picture, entropy."""

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
    """A finished run, its last prompt token shown, the lens open."""
    page = driving.open_run(open_page, real_server, story_run)
    driving.look_at(page, LAST)
    driving.open_tab(page, "Logit lens")
    return page


def open_view(page: Page, name: str) -> None:
    page.get_by_role("group", name="What is looked into").get_by_role("button", name=name, exact=True).click()


def test_a_cell_says_its_five_likeliest_tokens_by_pointer_and_by_keys(page: Page) -> None:
    card = page.locator(".cell-card")
    page.locator(f'[data-cell="{LAST} 29"]').hover()
    expect(card.locator("h3")).to_have_text(f"After layer 29 at {LAST} “ to”")
    expect(card.locator(".prob-bars li")).to_have_count(5, timeout=SLOW_MS)
    first = card.locator(".prob-bars li").first
    expect(first.locator(".token")).to_have_text(" Mary")
    expect(first.locator(".prob")).to_have_text(re.compile(r"^92\.\d %$"))
    expect(card.locator(".cell-facts")).to_contain_text("“ Mary” rank 1 · 92.")
    probs = [float(text.split()[0].lstrip("<")) for text in card.locator(".prob-bars .prob").all_inner_texts()]
    assert probs == sorted(probs, reverse=True)
    page.mouse.move(5, 5)
    cell = page.locator(f'[data-cell="{LAST} 29"]')
    cell.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    expect(page.locator(f'[data-cell="{LAST + 1} 28"]')).to_be_focused()
    expect(card.locator("h3")).to_contain_text(f"After layer 28 at {LAST + 1}")
    expect(card.locator(".prob-bars li")).to_have_count(5, timeout=SLOW_MS)
    assert page.evaluate("() => window.livelens.store.current_pos.value") == LAST, "the page's arrows kept still"
    assert driving.axe_violations(page) == []


def test_what_heads_write_names_who_says_mary_and_adds_up(page: Page) -> None:
    open_view(page, "Heads")
    rows = page.locator(".lens-writes tbody tr")
    expect(rows.first).to_be_visible(timeout=SLOW_MS)
    row = rows.filter(has_text="L29H1").first
    expect(row).to_contain_text("“ Mary”")
    expect(row.locator("td").nth(1)).to_have_text("1")
    expect(page.locator(".lens-sums")).to_contain_text("(100.0 %)")
    canvas = page.locator(".lens-grids canvas")
    box = canvas.bounding_box()
    assert box is not None
    canvas.hover(position={"x": (29 + 0.5) * box["width"] / 30, "y": 1.5 * box["height"] / 10})
    expect(page.locator(".write-card")).to_contain_text("L29H1 adds +1.8")
    canvas.click(position={"x": (29 + 0.5) * box["width"] / 30, "y": 9.5 * box["height"] / 10})
    assert driving.selected(page) == {"kind": "mlp", "layer": 29, "index": 0}
    assert driving.axe_violations(page) == []


def test_how_widely_heads_look_and_the_head_over_the_whole_text(page: Page) -> None:
    open_view(page, "Entropy of looks")
    rows = page.locator(".lens-writes tbody tr")
    expect(rows.first).to_be_visible(timeout=SLOW_MS)
    entropies = [float(text) for text in page.locator(".lens-writes tbody td.number:nth-child(2)").all_inner_texts()]
    assert entropies == sorted(entropies)
    expect(rows.first).to_contain_text("“When” 100.0 %")  # the induction heads rest on the first token here
    rows.first.get_by_role("button").click()
    selected = driving.selected(page) or {}
    assert selected["kind"] == "head"
    page.get_by_role("button", name=f"L{selected['layer']}H{selected['index']} over the whole text").click()
    expect(page.get_by_text("Entropy of its looks, nat")).to_be_visible(timeout=SLOW_MS)
    assert driving.axe_violations(page) == []


def test_paths_of_chosen_tokens_are_in_the_picture_and_a_click_on_one_goes_there(page: Page) -> None:
    before = driving.canvas_pixels(page)
    open_view(page, "Paths in 3D")
    words = page.locator(".stream-words")
    expect(words).to_contain_text("of the variance of 465 points: 15 tokens at 31 places", timeout=SLOW_MS)
    shares = page.evaluate("() => Array.from(window.livelens.store.stream.inquiry.slot.value.answer.explained.values)")
    assert 0.2 < sum(shares) < 1
    assert shares == sorted(shares, reverse=True)
    expect(words.locator("b")).to_have_text(f"{100 * sum(shares):.1f} %")
    page.locator(".path-token").nth(1).click()
    page.wait_for_function("() => window.livelens.scene.stream_position(1, 30)")
    driving.at_rest(page)
    place = page.evaluate(
        """() => {
            const canvas = document.querySelector("canvas").getBoundingClientRect();
            const points = Array.from({ length: 31 }, (_, i) => window.livelens.scene.stream_position(1, i));
            const last = points[30];
            return { n: points.filter(Boolean).length, x: canvas.left + last.x, y: canvas.top + last.y,
                     inside: last.x > 0 && last.y > 0 && last.x < canvas.width && last.y < canvas.height };
        }"""
    )
    assert place["n"] == 31 and place["inside"]
    assert page.evaluate("() => window.livelens.scene.stream_position(2, 0)") is None, "a path that nobody chose"
    assert driving.canvas_pixels(page) != before
    page.mouse.click(place["x"], place["y"])
    page.wait_for_function("() => window.livelens.store.current_pos.value === 1")
    assert driving.selected(page) == {"kind": "mlp", "layer": 29, "index": 0}
    assert page.evaluate("() => window.livelens.scene.stats().draw_calls") <= 20
    assert driving.axe_violations(page) == []
    page.get_by_role("switch", name="Paths in the picture").click()
    page.wait_for_function("() => window.livelens.scene.stream_position(1, 0) === null")


def test_the_fake_engine_has_paths_and_lenses_too(open_page: OpenPage, fake_server: ServerProcess) -> None:
    page = open_page(fake_server)
    driving.run_to_end(page, "The small cat sees a bird", length=3)
    driving.open_tab(page, "Logit lens")
    page.locator(".lens-table .cell").nth(2).hover()
    expect(page.locator(".cell-card .prob-bars li")).to_have_count(5)
    open_view(page, "Paths in 3D")
    expect(page.locator(".stream-words")).to_contain_text("of the variance")
