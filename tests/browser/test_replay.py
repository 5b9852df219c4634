"""A run is saved, and shown again with nothing behind it: the same arrays, the same picture."""

from __future__ import annotations

import base64
import json
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import OpenPage
from tests.browser.recordings import file_checksums, page_checksums, share_of_differing_pixels

from livelens.bench.server_process import ServerProcess

PROMPT = "The cat sat on the mat and"
SIZE: ViewportSize = {"width": 1400, "height": 900}  # with and without a model, the bar above the picture is one row
REASON = "This is a recording: there is no model behind it."


def menu(page: Page, name: str) -> None:
    """Open the Save menu and press an entry."""
    page.locator("#share").click()
    page.locator(".share-menu").get_by_role("button", name=name).click()


def save(page: Page, name: str, folder: Path) -> Path:
    """What an entry of the Save menu downloads."""
    with page.expect_download() as download:
        menu(page, name)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def open_in_page(page: Page, path: Path) -> None:
    """Through the file dialog's field."""
    page.locator("#share").click()
    page.locator(".share-menu input[type=file]").set_input_files(path)
    page.wait_for_function("name => window.livelens.store.replay.value?.name === name", arg=path.name)


def shown_whole(page: Page) -> None:
    page.wait_for_function(
        "() => window.livelens.scene && window.livelens.store.replay.value"
        " && window.livelens.store.history.size === window.livelens.store.replay.value.n_steps"
    )
    driving.drawn(page)


def finished_run(open_page: OpenPage, server: ServerProcess, *, length: int = 12, **size: int) -> Page:
    """A run with an ablation in its middle, every position there with its lens."""
    page = open_page(server, accept_downloads=True, **size)
    driving.hold_run(page, PROMPT, length=length)
    driving.ablate(page, "attn", 9)
    page.keyboard.press("Escape")
    driving.resume(page)
    page.wait_for_function(
        "() => { const { history } = window.livelens.store;"
        " return history.positions().every((pos) => history.get(pos).lens_texts?.length === 30); }"
    )
    return page


@contextmanager
def replaying(path: Path) -> Iterator[str]:
    """`livelens replay` in a process of its own; its address."""
    command = [sys.executable, "-m", "livelens", "replay", str(path), "--json", "--no-browser", "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["url"]
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[[str], Page]]:
    """Open any address, and no request may leave for another; errors fail the test."""
    problems: list[str] = []
    contexts = []

    def visited(url: str) -> Page:
        context = browser.new_context(viewport=SIZE, reduced_motion="reduce", accept_downloads=True)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: problems.append(f"uncaught: {error}"))
        page.on("console", lambda entry: problems.append(entry.text) if entry.type == "error" else None)
        origin = url.split("?", maxsplit=1)[0].rsplit("/", 1)[0]
        page.on("request", lambda request: problems.append(request.url) if _leaves(request.url, origin) else None)
        page.goto(url)
        return page

    yield visited
    for context in contexts:
        context.close()
    assert not problems


def _leaves(url: str, origin: str) -> bool:
    return not url.startswith((origin, "data:", "blob:"))


def test_a_saved_run_replays_with_identical_arrays_and_picture(
    open_page: OpenPage,
    fake_server: ServerProcess,
    visit: Callable[[str], Page],
    tmp_path: Path,
) -> None:
    """The live page, the file in Python, the page that opened it, the page of `livelens replay`, the page by mail."""
    live = finished_run(open_page, fake_server, **SIZE)
    path = save(live, "Save recording", tmp_path)
    assert path.suffix == ".livelens"
    mailed = save(live, "Save as web page", tmp_path)
    arrays, picture = page_checksums(live), driving.canvas_pixels(live)
    text, log = driving.text(live), live.evaluate("() => window.livelens.store.run.value.intervention_log")
    assert len(arrays) > 12 * 15
    assert file_checksums(path) == arrays

    def compare(page: Page) -> None:
        shown_whole(page)
        assert page_checksums(page) == arrays
        assert driving.text(page) == text
        replayed = page.evaluate("() => window.livelens.store.run.value.intervention_log")
        assert [(e["from_pos"], e["interventions"]) for e in replayed] == [
            (e["from_pos"], e["interventions"]) for e in log
        ]
        assert share_of_differing_pixels(picture, driving.canvas_pixels(page)) < 0.01

    opened = open_page(fake_server, **SIZE)
    open_in_page(opened, path)
    compare(opened)
    compare(visit(mailed.as_uri()))
    with replaying(path) as url:
        compare(visit(url))


def test_a_recording_is_dragged_onto_the_page_and_left_again(
    open_page: OpenPage, fake_server: ServerProcess, tmp_path: Path
) -> None:
    """What was shown before comes back, and a new run can be started."""
    page = finished_run(open_page, fake_server)
    path = save(page, "Save recording", tmp_path)
    before = driving.run_id(page)
    data = page.evaluate_handle(
        """async (base64) => {
            const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], "dragged.livelens"));
            return transfer;
        }""",
        base64.b64encode(path.read_bytes()).decode(),
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": data})
    expect(page.get_by_text("Let go to open the recording")).to_be_visible()
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    page.wait_for_function("() => window.livelens.store.replay.value?.name === 'dragged.livelens'")
    shown_whole(page)
    assert driving.run_id(page) != before
    page.locator("#leave-recording").click()
    page.wait_for_function("before => window.livelens.store.run.value?.run_id === before", arg=before)
    driving.run_to_end(page, "My dog likes", length=4)


def test_the_time_line_plays_steps_and_goes_back(
    open_page: OpenPage, fake_server: ServerProcess, tmp_path: Path
) -> None:
    """Slider, step, keys, speed; tokens, text and interventions are those of that moment."""
    page = finished_run(open_page, fake_server)
    tokens = driving.token_ids(page)
    from_pos = page.evaluate("() => window.livelens.store.run.value.intervention_log.at(-1).from_pos")
    path = save(page, "Save recording", tmp_path)
    open_in_page(page, path)
    shown_whole(page)
    slider = page.locator("#replay-slider")
    for n_steps in (from_pos, 9, from_pos + 1, 3, len(tokens) - 1):
        slider.fill(str(n_steps))
        page.wait_for_function("n => window.livelens.store.history.size === n", arg=n_steps)
        n_prompt = page.evaluate("() => window.livelens.store.run.value.n_prompt_tokens")
        assert driving.token_ids(page) == tokens[: max(n_prompt, n_steps + 1)]
        assert page.evaluate("() => window.livelens.store.current_pos.value") == n_steps - 1
        n_sets = len(page.evaluate("() => window.livelens.store.interventions.value"))
        assert n_sets == (1 if n_steps > from_pos else 0)
    driving.wait_state(page, "finished")
    page.keyboard.press(",")
    page.wait_for_function("n => window.livelens.store.history.size === n", arg=len(tokens) - 2)
    page.keyboard.press(".")
    page.wait_for_function("n => window.livelens.store.history.size === n", arg=len(tokens) - 1)
    page.locator("#replay-speed").select_option("8")
    page.evaluate(
        """() => {
            const { shown, is_playing } = window.livelens.store.replay.value;
            window.seen = [];
            shown.subscribe((n) => window.seen.push([n, is_playing.peek()]));
        }"""
    )
    page.keyboard.press("Space")  # from the end: from the first generated token on
    page.wait_for_function("n => window.seen.length > 1 && window.seen.at(-1)[0] === n", arg=len(tokens) - 1)
    seen, n_prompt = page.evaluate("() => [window.seen, window.livelens.store.replay.value.n_prompt_steps]")
    assert seen == [[len(tokens) - 1, False], *([n, True] for n in range(n_prompt, len(tokens)))]
    driving.wait_state(page, "finished")
    assert driving.token_ids(page) == tokens
    # Four times as long as the steps and the change took when they were made by hand: it does not end before the click.
    page.locator("#replay-speed").select_option("0.25")
    page.get_by_role("button", name="Play").click()
    driving.press_while(page, "window.livelens.store.run.value.state === 'running'", "#replay-play")
    driving.wait_state(page, "paused")
    assert len(driving.token_ids(page)) < len(tokens)


def test_what_needs_a_model_is_grey_and_says_why(
    open_page: OpenPage, fake_server: ServerProcess, tmp_path: Path
) -> None:
    """Run, ablate, ask: switched off, with the reason; what was captured is all there to be looked at."""
    page = finished_run(open_page, fake_server)
    open_in_page(page, save(page, "Save recording", tmp_path))
    shown_whole(page)
    for name in ("Run", "Step", "Stop"):
        button = page.locator(f"#{name.lower()}")
        expect(button).to_be_disabled()
        expect(button).to_have_attribute("title", REASON)
    driving.select(page, "head", 11, 4)
    expect(page.locator("#ablate")).to_be_disabled()
    expect(page.get_by_label("Inspector").first).to_contain_text(REASON)
    expect(page.get_by_label("Attention of L11H4").first).to_be_visible()
    before = page.evaluate("() => JSON.stringify(window.livelens.store.interventions.value)")
    page.keyboard.press("a")
    assert page.evaluate("() => JSON.stringify(window.livelens.store.interventions.value)") == before
    page.get_by_role("tab", name="Why").click()
    expect(page.get_by_role("tabpanel")).to_contain_text(REASON)
    page.get_by_role("tab", name="Logit lens").click()
    expect(page.locator(".lens-table tbody tr")).to_have_count(30)


def test_damaged_files_are_told_and_leave_the_page_as_it_was(
    open_page: OpenPage, fake_server: ServerProcess, tmp_path: Path
) -> None:
    """A text file, a cut one, one with a flipped bit: a message, or what is whole of it."""
    page = finished_run(open_page, fake_server)
    path = save(page, "Save recording", tmp_path)
    before = driving.run_id(page)
    other = tmp_path / "letter.livelens"
    other.write_text("Dear Sir or Madam")
    page.locator("#share").click()
    page.locator(".share-menu input[type=file]").set_input_files(other)
    expect(page.get_by_text("This is not a livelens recording")).to_be_visible()
    assert driving.run_id(page) == before
    data = path.read_bytes()
    cut = tmp_path / "cut.livelens"
    cut.write_bytes(data[: len(data) // 2])
    open_in_page(page, cut)
    shown_whole(page)
    page.locator("#replay-problems").click()
    expect(page.locator("#replay-problems")).to_contain_text("was not written to its end")
    flipped = bytearray(data)
    flipped[random.Random(3).randrange(len(data) // 3, len(data))] ^= 16
    hurt = tmp_path / "hurt.livelens"
    hurt.write_bytes(flipped)
    open_in_page(page, hurt)
    shown_whole(page)
    expect(page.locator("#replay-problems")).to_contain_text("checksum differs")
