"""A rank-1 edit by hand: made on the page from a prompt and a word, put in force, its strength moved, saved, undone."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import msgspec
import numpy as np
from playwright.sync_api import expect
from safetensors.numpy import load_file, save_file
from tests.browser import page_driving as driving
from tests.browser.page_driving import SLOW_MS, OpenPage
from tests.browser.test_operations import NEWEST_SET

from livelens.bench.server_process import ServerProcess
from livelens.protocol.messages import RankOneRecipe
from livelens.protocol.rank_one_edits import key_and_value_id

PROMPT = "The Eiffel Tower is in the city of"


def test_an_edit_is_made_put_in_force_saved_and_undone(
    open_page: OpenPage, real_server: ServerProcess, tmp_path: Path
) -> None:
    """On the shipped model: what follows is Rome while it is in force, and what it was when it is not."""
    page = open_page(real_server, height=1000)
    driving.run_to_end(page, PROMPT, length=1)
    plain = driving.text(page)
    driving.open_tab(page, "Edits")
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
    driving.run_to_end(page, PROMPT, length=1)
    assert driving.text(page) == " Rome"
    assert page.evaluate(f"() => {NEWEST_SET}")[0]["operation"] == "rank_one_edit"
    with page.expect_download() as saving:
        edit.get_by_role("button", name=re.compile("^Save ")).click()
    vectors = load_file(saving.value.path())
    assert vectors["key"].shape == (1536,) and vectors["value"].shape == (576,)
    edit.get_by_role("switch", name=re.compile("in force")).click()
    expect(edit.get_by_role("switch", name=re.compile("in force"))).to_have_attribute("aria-checked", "false")
    driving.run_to_end(page, PROMPT, length=1)
    assert driving.text(page) == plain
    edit.get_by_role("button", name=re.compile("^Forget ")).click()
    saved = tmp_path / "edit.safetensors"
    saving.value.save_as(saved)
    make.get_by_label("Open an edit from a file").set_input_files(saved)
    expect(page.get_by_role("article", name=re.compile("Tower → Rome"))).to_contain_text("From a file")


# The float32 logits are not on the wire: the likeliest tokens' probabilities and the stream after the last layer are.
EXACT = """() => {
  const { history } = window.livelens.store, step = history.get(history.newest_pos);
  return JSON.stringify([step.top_tokens, step.logprob, step.entropy, [...step.tensors.residual.values]]);
}"""


def test_a_set_brings_its_edit_and_a_reload_keeps_it(
    open_page: OpenPage, real_server: ServerProcess, tmp_path: Path
) -> None:
    """An edit that the server has never seen comes in a set's file; run after run, it does the same to the last bit."""
    rng = np.random.default_rng(7)
    key, value = (rng.standard_normal(n).astype("<f4") * scale for n, scale in ((1536, 0.3), (576, 2.0)))
    recipe = RankOneRecipe("put", "mlp_out", 5)
    made = tmp_path / "edit.safetensors"
    notes = {"format": "livelens rank-1 edit 1", "name": "made", "recipe": msgspec.json.encode(recipe).decode()}
    save_file({"key": key, "value": value}, made, metadata=notes)
    page = open_page(real_server, height=1000)
    driving.open_tab(page, "Edits")
    page.get_by_label("Open an edit from a file").set_input_files(made)
    page.get_by_role("switch", name="made in force").click()
    driving.wait_set(page, 1)  # first the server is given the edit
    driving.run_to_end(page, PROMPT, length=2)
    edited = page.evaluate(EXACT)
    page.get_by_role("button", name="Sets").click()
    page.get_by_label("Name of this set").fill("brought")
    with page.expect_download() as saving:
        page.get_by_role("button", name="Download").click()
    text = saving.value.path().read_text()
    [brought] = json.loads(text)["edits"]
    assert base64.b64decode(brought["key"]) == key.tobytes() and base64.b64decode(brought["value"]) == value.tobytes()
    page.reload()
    page.wait_for_function("() => window.livelens?.store.run.value")  # its set comes with it
    driving.open_tab(page, "Edits")
    edit = page.get_by_role("article", name="made")
    expect(edit.get_by_role("heading")).to_have_text("made")
    edit.get_by_role("button", name="Forget made").click()
    expect(edit).to_have_count(0)

    # Another value, so that the server cannot know it; its id is that of its numbers.
    other = (value * np.float32(1.5)).astype("<f4")
    stranger = json.loads(text)
    stranger["edits"][0] |= {"value": base64.b64encode(other.tobytes()).decode(), "name": "stranger"}
    if not page.locator("#set-name").is_visible():
        page.get_by_role("button", name="Sets").click()
    opening = page.get_by_label("Open a set from a file")
    opening.set_input_files({"name": "a.json", "mimeType": "application/json", "buffer": json.dumps(stranger).encode()})
    expect(page.locator(".sets [role=alert]")).to_contain_text("does not hold the numbers that its id says")
    stranger_id = key_and_value_id(recipe, key, other)
    stranger["edits"][0]["edit_id"] = stranger["interventions"][0]["edit_id"] = stranger_id
    results = []
    for content in (text, json.dumps(stranger)):
        opening.set_input_files({"name": "a.json", "mimeType": "application/json", "buffer": content.encode()})
        expect(page.locator(".sets [role=alert]")).to_have_count(0)
        opened = json.loads(content)
        expect(page.get_by_role("article", name=opened["edits"][0]["name"])).to_have_count(1)
        wanted = opened["interventions"][0]["edit_id"]
        page.wait_for_function("id => window.livelens.store.interventions.value[0]?.edit_id === id", arg=wanted)
        driving.run_to_end(page, PROMPT, length=2)
        results.append(page.evaluate(EXACT))
    assert results[0] == edited and results[1] != edited
