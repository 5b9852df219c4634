"""Branches on the page, with the shipped model: another word, another set; walked, compared, and gone on."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import OpenPage

from livelens.bench.server_process import ServerProcess


@pytest.fixture
def page(open_page: OpenPage, real_server: ServerProcess) -> Page:
    """A finished run of six tokens, the tab open."""
    page = open_page(real_server)
    driving.run_to_end(page, driving.STORY, length=6)
    driving.open_tab(page, "Branches")
    return page


def branch_at(page: Page, pos: int, *, put: str = "") -> None:
    """Click a token of the text, write what stands there instead, branch, wait for the end."""
    before = driving.run_id(page)
    driving.look_at(page, pos)
    page.get_by_label("Token to put in").fill(put)
    page.get_by_role("button", name="Branch off here").click()
    page.wait_for_function(
        "id => { const run = window.livelens.store.run.value; return run.run_id !== id && run.state === 'finished'; }",
        arg=before,
    )


def test_another_word_makes_a_branch_that_is_walked_and_compared(page: Page) -> None:
    """Its text starts as the first one's; the tree leads back; the place where both part is said."""
    root, root_ids = driving.run_id(page), driving.token_ids(page)
    driving.wait_steps(page, len(root_ids) - 1)
    steps = page.evaluate("() => [...Array(13).keys()].map((pos) => window.livelens.store.history.get(pos)?.logprob)")
    branch_at(page, 14, put=" the")
    ids = driving.token_ids(page)
    assert ids[:14] == root_ids[:14]
    assert ids[14] != root_ids[14]
    assert len(ids) == len(root_ids)
    driving.wait_steps(page, len(ids) - 1)
    shared = page.evaluate("() => [...Array(13).keys()].map((pos) => window.livelens.store.history.get(pos)?.logprob)")
    assert shared == steps, "what both have in common is there, and the same"
    rows = page.locator(".branch-tree li")
    expect(rows).to_have_count(2)
    expect(rows.nth(1)).to_contain_text("from token 14")
    expect(rows.nth(1)).to_contain_text("put in")
    rows.nth(0).get_by_role("button", name="Compare").click()
    expect(page.locator("#parting")).to_have_text("14")
    assert driving.axe_violations(page) == []
    rows.nth(0).get_by_role("button", name="Run 1").click()
    page.wait_for_function("id => window.livelens.store.run.value.run_id === id", arg=root)
    assert driving.token_ids(page) == root_ids
    driving.wait_steps(page, len(root_ids) - 1)


def test_a_set_changed_after_the_end_takes_effect_in_a_branch(page: Page) -> None:
    """A finished run cannot be changed; its branch can, from the token where it begins."""
    root_ids = driving.token_ids(page)
    driving.ablate(page, "mlp", 0)
    branch_at(page, 16)
    ids = driving.token_ids(page)
    assert ids[:16] == root_ids[:16]
    assert ids != root_ids, "without its first MLP the model says something else"
    log = page.evaluate("() => window.livelens.store.run.value.intervention_log.map((entry) => entry.from_pos)")
    assert log == [0, 15]
    expect(page.locator(".branch-tree li").nth(1)).to_contain_text("other interventions")


def test_a_text_that_was_cut_off_goes_on(page: Page) -> None:
    """As many tokens more, after the same ones."""
    root_ids = driving.token_ids(page)
    before = driving.run_id(page)
    page.get_by_role("button", name="Go on after the end").click()
    page.wait_for_function(
        "id => { const run = window.livelens.store.run.value; return run.run_id !== id && run.state === 'finished'; }",
        arg=before,
    )
    ids = driving.token_ids(page)
    assert ids[: len(root_ids)] == root_ids
    assert len(ids) == len(root_ids) + 6
    expect(page.locator(".branch-form")).to_contain_text(re.compile("Instead of"))
