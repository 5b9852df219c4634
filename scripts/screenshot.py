"""Take the README's pictures from the running app: `python scripts/screenshot.py [FOLDER]`.

Starts livelens on the shipped model, runs the prompt, selects the head that moves the name, and takes
the page as it is, then once more with the question why it said that name: nothing is drawn by hand.
"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from livelens.bench.chromium import LAUNCH_ARGS, find_chromium
from livelens.bench.server_process import serve

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "images"
PROMPT = "When Mary and John went to the store, John gave a drink to"
NAME_MOVER = {"kind": "head", "layer": 23, "index": 3}
_LAST_PROMPT_POS = "() => window.livelens.store.run.value.n_prompt_tokens - 1"
_WAIT_MS = 120_000


def show_name_mover(page: Page) -> None:
    """Run the prompt, walk to its last token, and select the head that reads the name from there."""
    page.get_by_label("length").fill("8")
    page.get_by_role("textbox", name="Prompt").fill(PROMPT)
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_function("() => window.livelens.store.run.value?.state === 'finished'", timeout=_WAIT_MS)
    last = page.evaluate(_LAST_PROMPT_POS)
    page.wait_for_function(
        "pos => { const { history } = window.livelens.store; return history.size > pos + 6; }",
        arg=last,
        timeout=_WAIT_MS,
    )
    page.evaluate(
        "([pos, head]) => { const { store } = window.livelens;"
        " store.follow.value = false; store.current_pos.value = pos; store.selection.value = head; }",
        [last, NAME_MOVER],
    )
    page.get_by_text("exact").first.wait_for(timeout=_WAIT_MS)
    page.mouse.move(5, 5)
    page.evaluate("async () => { for (let frame = 0; frame < 5; frame++) await new Promise(requestAnimationFrame); }")


def ask_why(page: Page) -> None:
    """Open the Why tab at the same token, " Mary" over " John", and wait until the answer is drawn."""
    page.get_by_role("tab", name="Why").click()
    page.get_by_label("Distractor token").fill(" John")
    page.keyboard.press("Enter")
    page.wait_for_function(
        "() => window.livelens.store.analysis.overview.slot.value.answer?.metric.distractor_text === ' John'",
        timeout=_WAIT_MS,
    )
    page.get_by_role("button", name="Strongest paths").click()
    page.wait_for_function("() => window.livelens.store.analysis.paths.slot.value.answer", timeout=_WAIT_MS)
    page.mouse.move(5, 5)
    page.evaluate("async () => { for (let frame = 0; frame < 5; frame++) await new Promise(requestAnimationFrame); }")


def main(folder: Path) -> None:
    """Write the pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    with serve("smollm2") as server, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(LAUNCH_ARGS))
        page = browser.new_page(viewport={"width": 1600, "height": 900}, color_scheme="dark", reduced_motion="reduce")
        page.goto(server.url)
        page.wait_for_function("() => window.livelens?.scene", timeout=_WAIT_MS)
        for name, show in (("page", show_name_mover), ("why", ask_why)):
            show(page)
            page.screenshot(path=folder / f"{name}.png")
            print(f"wrote {folder / name}.png")
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else PICTURES)
