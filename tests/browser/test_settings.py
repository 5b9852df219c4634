"""Every setting of a run, set by hand: what the fields say is what the server samples with."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import OpenPage

from livelens.bench.server_process import ServerProcess

PROMPT = "The cat sat on the mat and"


@pytest.fixture
def page(open_page: OpenPage, fake_server: ServerProcess) -> Page:
    return open_page(fake_server)


def sample(page: Page, **fields: str) -> None:
    """Choose Sample and fill the fields by their labels (`top_k` is top-k)."""
    page.get_by_role("radio", name="Sample").click()
    for name, value in fields.items():
        page.get_by_label(name.replace("_", "-"), exact=True).fill(value)


def generated(page: Page, *, length: int = 8) -> list[int]:
    """Run to the end; the tokens after the prompt."""
    driving.run_to_end(page, PROMPT, length=length)
    return driving.token_ids(page)[int(str(driving.run_view(page)["n_prompt_tokens"])) :]


def test_the_same_seed_gives_the_same_text_and_another_seed_another(page: Page) -> None:
    """Sampling is wild at this temperature: only the seed can make two texts equal."""
    sample(page, temperature="3", top_k="0", top_p="1", seed="11")
    first = generated(page)
    assert driving.run_view(page)["sampling"] == {
        "temperature": 3, "top_k": 0, "top_p": 1, "seed": 11, "max_new_tokens": 8, "stop_at_eos": True,
    }  # fmt: skip
    assert generated(page) == first
    sample(page, seed="12")
    assert generated(page) != first
    sample(page, seed="11")
    assert generated(page) == first


def test_the_length_is_honoured(page: Page) -> None:
    """Exactly as many tokens as were asked for."""
    for length in (1, 7, 12):
        assert len(generated(page, length=length)) == length
        expect(page.get_by_text("length reached")).to_be_visible()


def test_greedy_ignores_the_seed_and_each_limit_alone_makes_sampling_greedy(page: Page) -> None:
    """Top-k 1, a tiny top-p and a tiny temperature each leave the likeliest token only."""
    greedy = generated(page)
    for name in ("temperature", "top-k", "top-p", "seed"):
        expect(page.get_by_label(name, exact=True)).to_be_disabled()
    sample(page, temperature="3", top_k="0", top_p="1", seed="5")
    assert generated(page) != greedy
    sample(page, temperature="3", top_k="1", top_p="1")
    assert generated(page) == greedy
    sample(page, temperature="3", top_k="0", top_p="0.000001")
    assert generated(page) == greedy
    sample(page, temperature="0.0001", top_k="0", top_p="1")
    assert generated(page) == greedy


def test_a_greedy_run_between_keeps_what_was_typed_for_sampling(page: Page) -> None:
    """Going back to Sample brings back the person's own numbers."""
    sample(page, temperature="1.5", top_k="40", top_p="0.9", seed="3")
    first = generated(page)
    page.get_by_role("radio", name="Greedy").click()
    generated(page)
    page.get_by_role("radio", name="Sample").click()
    for name, value in (("temperature", "1.5"), ("top-k", "40"), ("top-p", "0.9"), ("seed", "3")):
        expect(page.get_by_label(name, exact=True)).to_have_value(value)
    assert generated(page) == first


UNFIT = [
    ("temperature", "hot", "Temperature must be a number"),
    ("temperature", "-1", "Temperature must be a number"),
    ("top-k", "2.5", "Top-k must be a whole number"),
    ("top-p", "0", "Top-p must be a number"),
    ("top-p", "1.5", "Top-p must be a number"),
    ("seed", "1e99", "Seed must be a whole number"),
    ("length", "", "Length must be a whole number"),
]


def test_a_number_that_does_not_fit_is_one_sentence_and_starts_nothing(page: Page) -> None:
    """The field keeps what was typed."""
    sample(page)
    toasts = page.locator(".toast")
    for name, value, said in UNFIT:
        field = page.get_by_label(name, exact=True)
        fitting = field.input_value()
        field.fill(value)
        page.get_by_role("button", name="Run", exact=True).click()
        expect(toasts).to_have_text([re.compile("^" + re.escape(said))])
        expect(field).to_have_value(value)
        assert page.evaluate("() => window.livelens.store.run.value") is None
        field.fill(fitting)
        toasts.get_by_role("button", name="Close this message").click()
        expect(toasts).to_have_count(0)


def test_the_chat_template_changes_the_tokens_of_the_prompt(page: Page) -> None:
    """On, the prompt's own tokens stand inside the template's; off again, they are alone as before."""
    driving.run_to_end(page, PROMPT, length=2)
    n_plain = int(str(driving.run_view(page)["n_prompt_tokens"]))
    plain = driving.token_ids(page)[:n_plain]
    page.get_by_label("Chat template").check()
    driving.run_to_end(page, PROMPT, length=2)
    n_wrapped = int(str(driving.run_view(page)["n_prompt_tokens"]))
    wrapped = driving.token_ids(page)[:n_wrapped]
    assert n_wrapped > n_plain
    assert wrapped != plain
    expect(page.locator(".chips button")).to_have_count(n_wrapped + 2)
    page.get_by_label("Chat template").uncheck()
    driving.run_to_end(page, PROMPT, length=2)
    assert driving.token_ids(page)[:n_plain] == plain
