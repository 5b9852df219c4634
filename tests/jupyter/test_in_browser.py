"""livelens in a browser that is logged in to Jupyter, below a path prefix: the page itself, and JupyterLab's panel."""

from __future__ import annotations

from playwright.sync_api import Frame, Keyboard, Page, expect
from tests.browser.page_driving import hold_run, run_to_end, select, token_ids, wait_state
from tests.jupyter.jupyter_process import BASE_URL, TOKEN, JupyterProcess

PROMPT = "When Mary and John went to the store, John gave a drink to"


def ready(page: Page | Frame) -> None:
    page.wait_for_function("() => window.livelens?.store.model_info.value")


def ablate_in_the_middle(page: Page | Frame, keyboard: Keyboard) -> None:
    """A run, and the same with three whole layers off from its middle on: equal before, other after."""
    run_to_end(page, PROMPT, length=24)
    clean = token_ids(page)
    hold_run(page, PROMPT, length=24)
    for layer in (0, 1, 2):
        select(page, "attn", layer)
        keyboard.press("a")
        page.wait_for_function(
            "count => window.livelens.store.run.value.intervention_log.at(-1).interventions.length === count",
            arg=layer + 1,
        )
    from_pos = page.evaluate("() => window.livelens.store.run.value.intervention_log.at(-1).from_pos")
    page.get_by_role("button", name="Resume").click()
    wait_state(page, "finished")
    page.wait_for_function("count => window.livelens.store.tokens.value.length === count", arg=len(clean))
    changed = token_ids(page)
    assert len(changed) > from_pos
    assert changed[: from_pos + 1] == clean[: from_pos + 1]
    assert changed != clean


def test_the_page_generates_and_ablates_inside_jupyter(lab: JupyterProcess, page: Page) -> None:
    page.goto(lab.url)
    ready(page)
    assert page.url == f"{lab.origin}{BASE_URL}livelens/"  # Jupyter's token is out of sight
    ablate_in_the_middle(page, page.keyboard)


def test_the_launcher_opens_a_panel_with_the_page(lab: JupyterProcess, page: Page) -> None:
    """A card for each allowed model; the panel generates and ablates, and is there again after a reload."""
    page.goto(f"{lab.origin}{BASE_URL}lab?token={TOKEN}")
    cards = page.locator(".jp-LauncherCard", has_text="livelens: ")
    expect(cards).to_have_count(2)
    cards.filter(has_text="small").click()
    frame = panel(page)
    assert frame.url == f"{lab.origin}{BASE_URL}livelens/model/small/"
    ablate_in_the_middle(frame, page.keyboard)
    with page.expect_response(lambda reply: "/lab/api/workspaces" in reply.url and reply.request.method == "PUT"):
        page.get_by_role("tab", name="livelens: small").dblclick()  # any change of the layout has it written
    page.reload()
    ready(panel(page))


def panel(page: Page) -> Frame:
    """The frame in JupyterLab's panel, once its page has met the server."""
    frame = page.locator("iframe[title='livelens: small']").element_handle().content_frame()
    assert frame is not None
    ready(frame)
    return frame
