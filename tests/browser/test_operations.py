"""Reaching in by hand: every kind of change through the page's own fields, undone, redone, kept, sent and opened."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, expect
from safetensors.numpy import load_file
from tests.browser import page_driving as driving
from tests.browser.page_driving import OpenPage

from livelens.bench.server_process import ServerProcess

PROMPT = "The cat sat on the mat and"
NEWEST_SET = "window.livelens.store.run.value.intervention_log.at(-1).interventions"


def sent(page: Page) -> list[dict[str, object]]:
    """The set as the server has put it in force."""
    return list(page.evaluate(f"() => {NEWEST_SET}"))


@pytest.fixture
def paused(open_page: OpenPage, fake_server: ServerProcess) -> Page:
    """A run on the fake engine, held in the middle."""
    page = open_page(fake_server)
    driving.hold_run(page, PROMPT, length=400, n_tokens=3)
    return page


def change(page: Page, operation: str) -> None:
    """Open the inspector's form for what is selected and choose an operation."""
    page.locator("#draft-toggle").click()
    page.locator("#draft-operation").select_option(operation)


def test_each_operation_of_the_form_is_put_in_force_and_said_in_words(paused: Page) -> None:
    page = paused
    driving.select(page, "head", 4, 2)
    change(page, "mean")
    page.get_by_label("position by position").check()
    page.locator("#draft-apply").click()
    driving.wait_revision(page, 1)
    driving.select(page, "neuron", 7, 30)
    change(page, "set")
    page.locator(".draft-form").get_by_label("Value", exact=True).fill("2.5")
    page.locator("#draft-apply").click()
    driving.wait_revision(page, 2)
    driving.select(page, "mlp", 9, 0)
    change(page, "resample")
    expect(page.locator("#draft-apply")).to_be_disabled()
    page.get_by_label("Reference text").fill("The dog ran off")
    page.get_by_label("Reference text").press("Tab")
    page.locator("#draft-apply").click()
    driving.wait_revision(page, 3)
    assert [(spec["operation"], spec["amount"]) for spec in sent(page)] == [("mean", 0), ("set", 2.5), ("resample", 0)]
    expect(page.locator(".intervention .operation")).to_have_text(
        [
            "its mean over the prompt, position by position",
            "= 2.5",
            "as in “The dog ran off”, at the same position",
        ]
    )
    assert driving.axe_violations(page) == []
    pos = driving.step(page)
    assert page.evaluate("pos => window.livelens.store.history.get(pos).revision", pos) == 3
    driving.select(page, "neuron", 7, 30)
    expect(page.locator(".facts .tag")).to_have_text("exact")
    expect(page.locator("#selected-value")).to_have_text("2.5")


def test_a_slider_is_sent_while_it_moves_and_is_one_step_of_undo(paused: Page) -> None:
    """Dragged with the mouse; Ctrl Z takes the whole drag back, Ctrl Y brings it again, by key alone as well."""
    page = paused
    driving.select(page, "attn", 6, 0)
    slider = page.get_by_label("Scale by, slider")
    slider.hover()  # scrolled to, and what stands above it has its height
    box = slider.bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, middle)
    page.mouse.down()
    for revision, share in enumerate((0.6, 0.7, 0.75), start=1):
        page.mouse.move(box["x"] + box["width"] * share, middle)
        driving.wait_revision(page, revision)  # it is live: the button is still down
    page.mouse.up()
    page.wait_for_function(f"() => {NEWEST_SET}[0]?.amount > 1.8")
    page.evaluate("() => document.activeElement.blur()")
    page.keyboard.press("Control+z")
    driving.wait_set(page, 0)
    page.keyboard.press("Control+y")
    page.wait_for_function("() => window.livelens.store.interventions.value[0]?.amount > 1.8")


def test_a_range_of_tokens_read_already_is_computed_again(paused: Page) -> None:
    page = paused
    driving.select(page, "neuron", 2, 5)
    change(page, "zero")
    page.get_by_label("At which tokens").select_option("range")
    page.get_by_label("First position").fill("3")
    page.get_by_label("Last position; empty: without an end").fill("4")
    page.get_by_label("Last position; empty: without an end").press("Tab")
    page.locator("#draft-apply").click()
    driving.wait_revision(page, 1)
    expect(page.locator(".toast")).to_contain_text("read already")
    page.wait_for_function(
        "() => [2, 3, 4, 5].every(pos => { const step = window.livelens.store.history.get(pos);"
        " return step?.tensors.neurons && (pos < 3 || step.revision === 1); })"
    )
    code = "pos => window.livelens.store.history.get(pos).tensors.neurons.values[2 * 1536 + 5]"
    values = [page.evaluate(code, pos) for pos in (2, 3, 4, 5)]
    assert values[1:3] == [0, 0]
    assert values[0] != 0
    assert values[3] != 0


def test_a_set_is_downloaded_opened_elsewhere_and_refused_where_it_does_not_fit(
    paused: Page, open_page: OpenPage, fake_server: ServerProcess, tmp_path: Path
) -> None:
    page = paused
    for index in (1, 2):
        driving.ablate(page, "head", 3, index)
    page.locator("#sets-toggle").click()
    page.locator("#set-name").fill("two heads")
    page.get_by_role("button", name="Keep").click()
    assert driving.axe_violations(page) == []
    with page.expect_download() as download:
        page.get_by_role("button", name="Download").click()
    file = tmp_path / "set.json"
    download.value.save_as(file)
    assert download.value.suggested_filename == "two heads.livelens.json"
    other = open_page(fake_server)
    other.locator("#sets-toggle").click()
    other.get_by_label("Open a set from a file").set_input_files(file)
    expect(other.locator(".intervention")).to_have_count(2)
    driving.run_to_end(other, PROMPT, length=3)
    assert [spec["intervention_id"] for spec in sent(other)] == ["L3H1", "L3H2"]
    written = json.loads(file.read_text())
    written["interventions"][0]["components"][0]["layer"] = 99
    damaged = tmp_path / "damaged.json"
    damaged.write_text(json.dumps(written))
    other.get_by_label("Open a set from a file").set_input_files(damaged)
    expect(other.locator(".sets [role=alert]")).to_contain_text("has no L99H1: it has 30 layers")
    expect(other.locator(".intervention")).to_have_count(2)


def test_a_direction_from_a_file_steers_and_comes_back_bit_for_bit(paused: Page, tmp_path: Path) -> None:
    """Opened, steered with by a slider, taken out, saved: the saved numbers are the opened ones."""
    from safetensors.numpy import save_file

    page = paused
    driving.open_tab(page, "Directions")
    d_model = page.evaluate("() => window.livelens.store.model_info.value.d_model")
    vector = np.linspace(-1, 1, d_model, dtype=np.float32)
    file = tmp_path / "ramp.safetensors"
    save_file({"direction": vector}, str(file), metadata={"name": "ramp", "layer": "5"})
    page.get_by_label("Open a direction from a file").set_input_files(file)
    page.get_by_role("button", name="Steer with ramp").click()
    driving.wait_revision(page, 1)
    assert sent(page)[0]["stream"] == [{"layer": 5, "hook": "resid_post"}]
    expect(page.locator(".intervention .operation")).to_contain_text("× “ramp”")
    page.get_by_label("Strength", exact=True).fill("2")
    page.get_by_label("Strength", exact=True).press("Tab")
    page.wait_for_function(f"() => {NEWEST_SET}[0].amount === 2")
    page.get_by_role("button", name="Take out ramp").click()
    page.wait_for_function(f"() => {NEWEST_SET}.length === 2")
    assert driving.axe_violations(page) == []
    with page.expect_download() as download:
        page.get_by_role("button", name="Save ramp").click()
    saved = tmp_path / "saved.safetensors"
    download.value.save_as(saved)
    assert load_file(saved)["direction"].tobytes() == vector.tobytes()
    wrong = tmp_path / "wrong.safetensors"
    save_file({"direction": vector[:-1]}, str(wrong))
    page.get_by_label("Open a direction from a file").set_input_files(wrong)
    expect(page.locator(".direction-make [role=alert]")).to_contain_text(f"has {d_model - 1} numbers")


def test_two_viewers_change_one_run_at_once_and_both_pages_say_who(
    paused: Page, open_page: OpenPage, fake_server: ServerProcess
) -> None:
    """Neither page waits for the other: both end with the set that came last, and name the same two hands."""
    page = paused
    other = open_page(fake_server, fragment=f"#run={driving.run_id(page)}")
    driving.wait_steps(other, page.evaluate("() => window.livelens.store.history.size"))
    pages = (page, other)
    for index, one in enumerate(pages):
        driving.select(one, "head", 4, index)
    for one in pages:  # neither has heard of the other's change when it makes its own
        one.keyboard.press("a")
    for one in pages:
        driving.wait_revision(one, 2)
        one.locator("#set-history-toggle").click()
    log = "() => window.livelens.store.run.value.intervention_log.map(({ author, from_pos }) => [author, from_pos])"
    assert page.evaluate(log) == other.evaluate(log)
    assert sent(page) == sent(other) == page.evaluate("() => window.livelens.store.interventions.value")
    assert sent(other) == other.evaluate("() => window.livelens.store.interventions.value")
    names = [f"viewer {one.evaluate('() => window.livelens.store.own_viewer_ids.value.at(-1)')[:4]}" for one in pages]
    assert names[0] != names[1]
    for own, one in enumerate(pages):
        who = one.locator(".set-history-who")
        expect(who).to_have_count(2)
        assert sorted(who.all_inner_texts()) == sorted(["you", names[1 - own]])
    first = page.evaluate(log)[1][1]
    driving.step(other)
    for one in pages:
        one.wait_for_function("pos => window.livelens.store.history.get(pos)?.revision === 2", arg=first)
    other.keyboard.press("Home")
    other.wait_for_function("() => window.livelens.store.current_pos.value === 0")
    other.locator(".set-history-entry").last.click()
    assert other.evaluate("() => window.livelens.store.current_pos.value") == first
    assert driving.axe_violations(other) == []
    other.reload()
    other.wait_for_function("() => window.livelens?.store.run.value")
    other.locator("#set-history-toggle").click()
    # A tab that is loaded again is still itself.
    expect(other.locator(".set-history-who").filter(has_text="you")).to_have_count(1)


def label_place(page: Page, pos: int) -> tuple[float, float]:
    """The middle of a token's label in the picture, in the window."""
    place = page.evaluate(
        """pos => {
            const canvas = document.querySelector("canvas").getBoundingClientRect();
            const at = window.livelens.scene.token_position(pos);
            return at && [canvas.left + at.x, canvas.top + at.y];
        }""",
        pos,
    )
    assert place is not None, f"the label of token {pos} is not in the picture"
    return place[0], place[1]


def test_an_arc_dragged_in_the_picture_turns_a_head_and_the_camera_stays(paused: Page) -> None:
    """From the shown token's label to an earlier one's; elsewhere a drag still turns the picture."""
    page = paused
    driving.select(page, "head", 4, 2)
    driving.at_rest(page)
    newest = page.evaluate("() => window.livelens.store.current_pos.value")
    key = newest - 4
    camera = page.evaluate("() => window.livelens.scene.camera()")
    before = driving.canvas_pixels(page)
    page.mouse.move(*label_place(page, newest))
    page.mouse.down()
    page.mouse.move(*label_place(page, key), steps=6)
    assert driving.canvas_pixels(page) != before, "no arc is seen while it is drawn"
    page.mouse.up()
    draft = page.locator(".turn-words")
    expect(draft).to_have_text(re.compile(rf"looks at .* \({key}\) instead of all else"))
    assert page.evaluate("() => window.livelens.scene.camera()") == camera
    page.locator("#turn-apply").click()
    driving.wait_revision(page, 1)
    spec = sent(page)[0]
    assert spec["operation"] == "attention_turn"
    assert spec["components"] == [{"kind": "head", "layer": 4, "index": 2}]
    assert (spec["attention"]["keys"], spec["positions"]["from_pos"]) == ([key], newest)  # type: ignore[index]
    page.wait_for_function(  # computed again
        "pos => { const { current_pos, history } = window.livelens.store;"
        " return current_pos.value === pos && history.get(pos)?.revision === 1; }",
        arg=newest,
    )
    driving.at_rest(page)
    x, y = label_place(page, newest)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(*label_place(page, newest - 2), steps=3)
    page.keyboard.press("Escape")
    page.mouse.up()
    driving.drawn(page)
    expect(draft).to_have_text(re.compile(rf"looks at .* \({key}\) instead"))
    assert page.evaluate("() => window.livelens.scene.camera()") == camera
    page.mouse.move(*driving.canvas_point(page, "head", 15, 4))
    page.mouse.down()
    page.mouse.move(x + 200, y - 200, steps=3)
    page.mouse.up()
    driving.at_rest(page)
    assert page.evaluate("() => window.livelens.scene.camera()") != camera
