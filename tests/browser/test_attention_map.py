"""The heat map of a head: its axes name the tokens, and no name covers another."""

from __future__ import annotations

from itertools import pairwise

import pytest
from playwright.sync_api import Page
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


@pytest.mark.parametrize("tall", [False, True])
def test_a_hundred_tokens_are_named_without_piling_up(
    open_page: OpenPage, fake_server: ServerProcess, tall: bool
) -> None:
    """Labels keep their distance, lie where their token's row or column is, and say that token."""
    page = open_page(fake_server)
    page.get_by_role("tab", name="Attention", exact=True).click()
    driving.select(page, "head", 11, 4)
    driving.run_to_end(page, "The cat sat on the mat and", length=100)
    if tall:
        page.get_by_role("button", name="Larger").click()
    page.wait_for_function("() => document.querySelectorAll('.map-names[data-side=columns] span').length >= 15")
    driving.drawn(page)
    n = int(page.evaluate("() => window.livelens.store.history.newest_pos + 1"))
    texts = page.evaluate("() => window.livelens.store.tokens.value.map((chip) => chip.text.trim())")
    box = page.locator(".map-plot canvas").bounding_box()
    assert box is not None
    for side, start, length in (("rows", box["y"], box["height"]), ("columns", box["x"], box["width"])):
        labels = names(page, side)
        assert len(labels) >= (5 if side == "rows" and not tall else 15)
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
