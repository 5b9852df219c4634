"""The hand on the picture: dragging, the wheel, the view's buttons and keys."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import Place, opened_pages

from livelens.bench.server_process import ServerProcess

CORNERS = [("head", 0, 0), ("head", 29, 0), ("neuron", 0, 1535), ("neuron", 29, 1535)]


@pytest.fixture(scope="module")
def run_page(browser: Browser, fake_server: ServerProcess) -> Iterator[Page]:
    """A finished run, for the whole file: no test here changes it."""
    with opened_pages(browser) as open_page:
        page = open_page(fake_server)
        driving.run_to_end(page, "The cat sat on the mat and", length=4)
        yield page


@pytest.fixture
def page(run_page: Page) -> Page:
    """The finished run in the opening view, nothing selected."""
    run_page.keyboard.press("Escape")
    run_page.keyboard.press("1")
    run_page.wait_for_function("() => window.livelens.store.selection.value === null")
    driving.at_rest(run_page)
    return run_page


def middle(page: Page) -> Place:
    """The middle of the canvas, page coordinates."""
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page: Page, button: str, dx: float, dy: float) -> None:
    """From the middle of the canvas, in several moves."""
    x, y = middle(page)
    page.mouse.move(x, y)
    page.mouse.down(button=button)
    page.mouse.move(x + dx, y + dy, steps=5)
    page.mouse.up(button=button)


def shifts(before: list[Place], after: list[Place]) -> list[Place]:
    """How far each place moved."""
    return [(b[0] - a[0], b[1] - a[1]) for a, b in zip(before, after, strict=True)]


def span(of: list[Place]) -> float:
    """From one corner of the sheet to the opposite one, pixels."""
    return math.dist(of[0], of[3])


def test_dragging_turns_the_network_and_selects_nothing(page: Page) -> None:
    """To the right: the sheet's right side comes nearer; the corners move by different ways."""
    before = driving.places(page, CORNERS)
    drag(page, "left", 160, 0)
    after = driving.places(page, CORNERS)
    ways = shifts(before, after)
    assert max(math.dist(ways[0], way) for way in ways) > 40, "a turn moves near and far differently"
    assert driving.selected(page) is None
    drag(page, "left", 0, 90)
    tilted = driving.places(page, CORNERS)
    assert max(math.dist(a, b) for a, b in zip(after, tilted, strict=True)) > 20


def test_dragging_with_the_right_button_shifts_it(page: Page) -> None:
    """Straight from the front, everything moves with the hand and nothing changes its size."""
    page.get_by_role("button", name="Front view").click()
    before = driving.places(page, CORNERS)
    drag(page, "right", 120, -60)
    after = driving.places(page, CORNERS)
    for dx, dy in shifts(before, after):
        assert (dx, dy) == pytest.approx((120, -60), abs=3)
    assert span(after) == pytest.approx(span(before), rel=0.01)
    assert driving.selected(page) is None


def test_the_wheel_goes_nearer_and_back(page: Page) -> None:
    """Towards what is under the pointer: that stays where it is."""
    page.get_by_role("button", name="Front view").click()
    under = ("neuron", 20, 700)
    before = driving.places(page, [*CORNERS, under])
    page.mouse.move(*driving.canvas_point(page, *under))
    page.mouse.wheel(0, -300)
    near = driving.places(page, [*CORNERS, under])
    assert span(near[:4]) > 1.15 * span(before[:4])
    assert math.dist(near[4], before[4]) < 12
    page.mouse.wheel(0, 300)
    back = driving.places(page, CORNERS)
    assert span(back) < 0.9 * span(near[:4])


def seen_from(page: Page, view: str) -> None:
    """What makes each preset what it is."""
    top_left, top_right, *_ = driving.places(page, CORNERS)
    if view == "Front view":
        assert top_left[1] == pytest.approx(top_right[1], abs=1), "from the front the heads stand on one line"
    else:
        assert top_left[1] > top_right[1] + 5, "from the side the far end is seen smaller"


@pytest.mark.parametrize(("view", "key"), [("3D view", "1"), ("Front view", "2"), ("Time view", "3")])
def test_each_view_has_a_button_and_a_key(page: Page, view: str, key: str) -> None:
    """Both go to the same place, from wherever the camera is, and the whole model is in the picture."""
    drag(page, "left", -140, 40)
    page.get_by_role("button", name=view).click()
    by_button = driving.places(page, CORNERS)
    seen_from(page, view)
    drag(page, "left", 200, 30)
    assert span(driving.places(page, CORNERS)) != pytest.approx(span(by_button), rel=0.02)
    page.keyboard.press(key)
    by_key = driving.places(page, CORNERS)
    assert by_key == [pytest.approx(place, abs=1) for place in by_button]
    assert_all_in_the_picture(page)


def assert_all_in_the_picture(page: Page) -> None:
    """All four corners of the sheet."""
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    for x, y in driving.places(page, CORNERS):
        assert 0 <= x <= box["width"] and 0 <= y <= box["height"]


def test_the_views_differ(page: Page) -> None:
    """Three presets, three pictures."""
    seen = []
    for key in "123":
        page.keyboard.press(key)
        seen.append(driving.places(page, CORNERS))
    assert math.dist(seen[0][1], seen[1][1]) > 30
    assert math.dist(seen[0][1], seen[2][1]) > 30


@pytest.mark.parametrize("by", ["button", "key"])
def test_focus_brings_the_selection_near_and_fit_brings_all_back(page: Page, by: str) -> None:
    """The selected head lands in the middle, much larger; afterwards the whole sheet is there again."""
    act = {
        "button": lambda name, _: page.get_by_role("button", name=name, exact=True).click(),
        "key": lambda _, key: page.keyboard.press(key),
    }[by]
    expect(page.get_by_role("button", name="Focus", exact=True)).to_be_disabled()
    driving.select(page, "head", 22, 7)
    neighbours = [("head", 22, 7), ("head", 22, 8)]
    before = driving.places(page, neighbours)
    act("Focus", "f")
    after = driving.places(page, neighbours)
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    assert after[0] == pytest.approx((box["width"] / 2, box["height"] / 2), abs=3)
    assert math.dist(*after) > 4 * math.dist(*before)
    act("Fit", "0")
    assert_all_in_the_picture(page)


def test_turning_and_zooming_by_button_and_key(page: Page) -> None:
    """For whoever has no mouse: the bracket keys are the arrow buttons, plus and minus the lens."""
    start = driving.places(page, CORNERS)
    page.get_by_role("button", name="Turn right").click()
    turned = driving.places(page, CORNERS)
    assert math.dist(turned[1], start[1]) > 10
    page.keyboard.press("[")
    assert driving.places(page, CORNERS) == [pytest.approx(place, abs=1) for place in start]
    page.keyboard.press("+")
    nearer = driving.places(page, CORNERS)
    assert span(nearer) > 1.1 * span(start)
    page.get_by_role("button", name="Zoom out").click()
    assert driving.places(page, CORNERS) == [pytest.approx(place, abs=2) for place in start]
    page.get_by_role("button", name="Turn up").click()
    assert math.dist(driving.places(page, CORNERS)[1], start[1]) > 5
    page.get_by_role("button", name="Turn down").click()
    assert driving.places(page, CORNERS) == [pytest.approx(place, abs=2) for place in start]
