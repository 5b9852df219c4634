"""Token importance as tints, on the shipped model: three methods, each against the Python functions."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import SLOW_MS, OpenPage

from livelens.analysis.attribution import Attribution
from livelens.analysis.relevance import gradient_x_input
from livelens.bench.server_process import ServerProcess
from livelens.model.frozen import FrozenModel
from livelens.model.torch_engine import TorchEngine

PROMPT = "The Eiffel Tower is in the city of"
LAST = 8
ANSWER = "window.livelens.store.analysis.relevance.slot.value.answer"


@pytest.fixture
def page(open_page: OpenPage, real_server: ServerProcess) -> Page:
    """A finished run, the last token of its prompt shown: what made " Paris" of it?"""
    page = open_page(real_server)
    page.set_default_timeout(SLOW_MS)
    driving.run_to_end(page, PROMPT, length=2)
    driving.look_at(page, LAST)
    return page


def tinted(page: Page, method: str) -> list[float]:
    """Choose the tint, wait for its answer: the logits of each token."""
    page.locator(".metric select").select_option(label=method)
    page.wait_for_function(
        f"method => {ANSWER}?.method === method && !document.querySelector('#completeness + button')",
        arg={
            "Relevance": "frozen",
            "Gradient × input": "gradient_x_input",
            "Integrated gradients": "integrated_gradients",
        }[method],
    )
    return list(page.evaluate(f"() => Array.from({ANSWER}.tokens.values)"))


def test_three_methods_tint_the_tokens_with_the_python_functions_numbers(page: Page, engine: TorchEngine) -> None:
    """And say how complete they are: the first and the last wholly, the gradient alone by no means."""
    model = FrozenModel(engine.model, engine.anatomy)
    run = model.run(driving.token_ids(page)[: LAST + 1], [])
    frozen = tinted(page, "Relevance")
    target, distractor = page.evaluate(f"() => [{ANSWER}.metric.target_id, {ANSWER}.metric.distractor_id]")
    ids = {"target_id": target, "distractor_id": distractor}
    assert frozen == pytest.approx(Attribution(model, run, **ids).relevance(n_neurons=0).embed.tolist(), abs=1e-3)
    expect(page.locator("#completeness")).to_contain_text("100.0 % of")

    gradient = tinted(page, "Gradient × input")
    assert gradient == pytest.approx(gradient_x_input(model, run, **ids).tolist(), abs=1e-3)
    value = page.evaluate(f"() => {ANSWER}.metric.value")
    expect(page.locator("#completeness")).to_contain_text(f"{100 * sum(gradient) / value:.1f} %")

    integrated = tinted(page, "Integrated gradients")
    at_mean = page.evaluate(f"() => {ANSWER}.bias")
    assert sum(integrated) == pytest.approx(value - at_mean, abs=1e-3)
    assert sum(map(abs, integrated)) > sum(map(abs, frozen)) / 10, "no token is left without"
    completeness = page.locator("#completeness")
    expect(completeness).to_contain_text("100.0 % of")
    expect(completeness).to_contain_text("placed")
    expect(completeness).to_have_attribute("title", re.compile("mean embeddings sum to"))

    strongest = max(range(LAST + 1), key=lambda pos: abs(integrated[pos]))
    page.locator(".chips button").nth(strongest).hover()
    sign = "+" if integrated[strongest] > 0 else "\N{MINUS SIGN}"
    expect(page.locator(".chip-card")).to_contain_text(f"{sign}{abs(integrated[strongest]):.2g}"[:4])


def test_integrated_gradients_tell_their_progress_and_can_be_given_up_and_asked_again(page: Page) -> None:
    """What is given up takes its tint along."""
    choose = page.locator(".metric select")
    choose.select_option(label="Integrated gradients")
    driving.press_while(
        page, "/working… [1-9]/.test(document.querySelector('#completeness').textContent)", "#completeness + button"
    )
    expect(choose).to_have_value("none")
    page.wait_for_function(f"() => !{ANSWER}")
    page.wait_for_function("() => document.querySelectorAll('.chips .chip[data-against]').length === 0")
    assert len(tinted(page, "Integrated gradients")) == LAST + 1
