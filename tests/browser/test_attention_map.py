"""The heat map of a head: its axes name the tokens, and no name covers another."""

from __future__ import annotations

from itertools import pairwise

from playwright.sync_api import Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import OpenPage

from livelens.bench.server_process import ServerProcess

MIN_PITCH_PX = 12
NAMES = """side => [...document.querySelectorAll(`.map-names[data-side=${side}] span`)].map((label) => {
    const box = label.getBoundingClientRect();
    const along = side === "rows" ? box.top + box.height / 2 : box.left + box.width / 2;
    return [along, label.textContent, Math.max(box.width, box.height)];
})"""


def names(page: Page, side: str) -> list[tuple[float, str, float]]:
    """Place along the axis, text, and length of each label."""
    return [tuple(label) for label in page.evaluate(NAMES, side)]


def test_a_hundred_tokens_are_named_without_piling_up(open_page: OpenPage, fake_server: ServerProcess) -> None:
    """Labels keep their distance, lie where their token's row or column is, and say that token."""
    page = open_page(fake_server, width=1400, height=900)
    driving.run_to_end(page, "The cat sat on the mat and", length=100)
    page.get_by_role("tab", name="Attention", exact=True).click()
    driving.select(page, "head", 11, 4)
    plot = page.locator(".map-plot canvas")
    texts = page.evaluate("() => window.livelens.store.tokens.value.map((chip) => chip.text.trim())")
    expect(plot).to_have_attribute("aria-label", f"Attention of L11H4 over {len(texts) - 1} tokens")
    page.wait_for_function("() => document.querySelectorAll('.map-names[data-side=columns] span').length >= 15")
    assert_named(page, texts, n_rows=5)
    height = plot.evaluate("canvas => canvas.clientHeight")
    page.get_by_role("button", name="Larger").click()
    page.wait_for_function(
        "before => document.querySelector('.map-plot canvas').clientHeight > before"
        " && document.querySelectorAll('.map-names[data-side=rows] span').length >= 15",
        arg=height,
    )
    assert_named(page, texts, n_rows=15)


def assert_named(page: Page, texts: list[str], *, n_rows: int) -> None:
    """Every label of both axes, and those of the cell that is pointed at."""
    driving.drawn(page)
    n = len(texts) - 1
    box = page.locator(".map-plot canvas").bounding_box()
    assert box is not None
    for side, start, length in (("rows", box["y"], box["height"]), ("columns", box["x"], box["width"])):
        labels = names(page, side)
        assert len(labels) >= (n_rows if side == "rows" else 15)
        for (before, *_), (after, *_) in pairwise(labels):
            assert after - before >= MIN_PITCH_PX
        for along, text, size in labels:
            pos = round((along - start) / length * n - 0.5)
            assert text == texts[pos] or not texts[pos], "a blank token is named by a sign for its blank"
            assert 4 < size <= 80
    page.mouse.move(box["x"] + box["width"] * 10.5 / n, box["y"] + box["height"] * 60.5 / n)
    page.wait_for_function("() => document.querySelectorAll('.map-names [data-marked]').length === 2")
    row, column = page.evaluate(
        "() => [...document.querySelectorAll('.map-names [data-marked]')].map((label) => label.textContent)"
    )
    # The pointer is at whole pixels, and a row of the small map is little more than one.
    assert row in [texts[at] or "␣" for at in (59, 60, 61)], "what the pointer is on is always named"
    assert column in [texts[at] or "␣" for at in (9, 10, 11)]
