"""The walk-through of docs/walkthroughs/umbrella.md by clicks, on the shipped model."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest
from playwright.sync_api import Locator, Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import SLOW_MS, OpenPage

from livelens.bench.server_process import ServerProcess

UMBRELLA = (
    "When it rains I carry an umbrella. When I carry an umbrella, I wear boots. "
    "When I don't carry an umbrella I wear sneakers. It rains, therefore I wear"
)


def token(page: Page, pos: int) -> Locator:
    """A token of the strip with arcs."""
    return page.locator(f'.arc-token[data-pos="{pos}"]')


@dataclass(frozen=True)
class Umbrella:
    """A page after `UMBRELLA`: the prompt's last position, where its words stand, the tab to turn attention."""

    page: Page
    last: int
    sneakers: tuple[int, int]
    boots: int

    def mark(self, *positions: int) -> None:
        """Click tokens over the text; a second click takes the mark away."""
        for pos in positions:
            token(self.page, pos).click()

    def turned(self) -> None:
        """Put what is written in force and run again."""
        self.page.locator("#turn-apply").click()
        driving.wait_set(self.page, 1)
        driving.run_to_end(self.page, UMBRELLA, length=1)

    def prob(self, text: str) -> float:
        """The probability of the next word, as it came with the step; 0 where it is not among the likeliest."""
        tokens = self.page.evaluate("pos => window.livelens.store.history.get(pos).top_tokens", self.last)
        return sum(float(top["prob"]) for top in tokens if top["text"] == text)


@pytest.fixture
def umbrella(open_page: OpenPage, real_server: ServerProcess) -> Umbrella:
    page = open_page(real_server)
    page.set_default_timeout(SLOW_MS)
    driving.run_to_end(page, UMBRELLA, length=1)
    tokens = page.evaluate("() => window.livelens.store.tokens.value.map((chip) => chip.text)")
    last = page.evaluate("() => window.livelens.store.run.value.n_prompt_tokens") - 1
    return Umbrella(page, last, (tokens.index(" sne"), tokens.index("akers")), tokens.index(" boots"))


def test_the_umbrella_story_by_hand(umbrella: Umbrella) -> None:
    """The heads that look at “ sneakers” are found, gathered and turned to “ boots”; the next word follows."""
    page, last, boots = umbrella.page, umbrella.last, umbrella.boots
    assert umbrella.prob(" boots") < 0.1
    assert umbrella.prob(" sne") > 0.5
    driving.open_tab(page, "Turn attention")
    page.get_by_role("button", name="Larger").click()
    umbrella.mark(last, *umbrella.sneakers)
    page.locator("#find-looking").click()
    page.wait_for_function("() => window.livelens.store.picked.value.length === 12")
    umbrella.mark(*umbrella.sneakers)
    words = page.locator(".turn-words")
    turned = re.compile(r"looks at “ boots” \(\d+\) instead of all else")
    umbrella.mark(boots)
    expect(words).to_have_text(turned)
    said = words.inner_text()
    umbrella.mark(boots)
    expect(words).not_to_have_text(turned)
    page.set_viewport_size({"width": 2400, "height": 600})  # both ends of the arc within the window
    page.wait_for_function("() => innerWidth === 2400")
    driving.drawn(page)
    token(page, last).drag_to(token(page, boots))
    expect(words).to_have_text(said)
    assert driving.axe_violations(page) == []
    umbrella.turned()
    assert driving.text(page) == " boots"
    assert umbrella.prob(" boots") > 0.6
    assert umbrella.prob(" sne") < 0.05


def test_heads_that_add_most_and_look_there_turn_the_word_further(umbrella: Umbrella) -> None:
    """Found through the Why answer: the last row of the walk-through."""
    page = umbrella.page
    driving.ask_why(page, umbrella.last, " boots")
    driving.open_tab(page, "Turn attention")
    umbrella.mark(umbrella.last, *umbrella.sneakers)
    percent = page.get_by_label("Percent of the look that must be on the marked tokens")
    percent.fill("10")
    percent.press("Enter")
    page.locator("#find-carrying").click()
    page.wait_for_function("() => window.livelens.store.picked.value.length === 12")
    umbrella.mark(*umbrella.sneakers, umbrella.boots)
    expect(page.locator(".turn-words")).to_contain_text("“ boots”")
    umbrella.turned()
    assert umbrella.prob(" boots") == pytest.approx(0.864, abs=0.01)
