"""A rank-1 edit by hand: made on the page from a prompt and a word, put in force, its strength moved, saved, undone."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import expect
from safetensors.numpy import load_file
from tests.browser import page_driving as driving
from tests.browser.page_driving import OpenPage
from tests.browser.test_operations import NEWEST_SET, SLOW_MS, open_tab

from livelens.bench.server_process import ServerProcess

PROMPT = "The Eiffel Tower is in the city of"


def test_an_edit_is_made_put_in_force_saved_and_undone(
    open_page: OpenPage, real_server: ServerProcess, tmp_path: Path
) -> None:
    """On the shipped model: what follows is Rome while it is in force, and what it was when it is not."""
    page = open_page(real_server, height=1000)
    driving.start_run(page, PROMPT, length=1)
    driving.wait_state(page, "finished")
    plain = driving.text(page)
    open_tab(page, "Edits")
    make = page.get_by_role("region", name="Make an edit")
    make.get_by_label("The text that the edit is made from").select_option("typed")
    make.get_by_label("Text of the edit").fill(PROMPT)
    make.get_by_role("button", name="Tower", exact=True).click()
    make.get_by_label("Wanted word").fill(" Rome")
    make.get_by_text("How it is made").click()
    make.get_by_label("What the key is told apart from").select_option("none")
    make.get_by_label(re.compile("Other texts to measure")).fill("The Colosseum is in the city of")
    make.get_by_role("button", name="Make the edit").click()
    edit = page.get_by_role("article", name=re.compile("Tower → Rome"))
    expect(edit).to_contain_text(re.compile(r"Rome.*→ 9\d"), timeout=SLOW_MS)
    expect(edit).to_contain_text("no prompt with another likeliest word")
    edit.get_by_role("switch", name=re.compile("in force")).click()
    expect(edit.get_by_role("switch", name=re.compile("in force"))).to_have_attribute("aria-checked", "true")
    page.screenshot(path=str(tmp_path / "edits.png"))
    driving.start_run(page, PROMPT, length=1)
    page.wait_for_function("text => window.livelens.store.run.value?.text === text", arg=" Rome")
    assert page.evaluate(f"() => {NEWEST_SET}")[0]["operation"] == "rank_one_edit"
    with page.expect_download() as saving:
        edit.get_by_role("button", name=re.compile("^Save ")).click()
    vectors = load_file(saving.value.path())
    assert vectors["key"].shape == (1536,) and vectors["value"].shape == (576,)
    edit.get_by_role("switch", name=re.compile("in force")).click()
    driving.start_run(page, PROMPT, length=1)
    page.wait_for_function("text => window.livelens.store.run.value?.text === text", arg=plain)
    edit.get_by_role("button", name=re.compile("^Forget ")).click()
    saved = tmp_path / "edit.safetensors"
    saving.value.save_as(saved)
    make.get_by_label("Open an edit from a file").set_input_files(saved)
    expect(page.get_by_role("article", name=re.compile("Tower → Rome"))).to_contain_text("From a file")
