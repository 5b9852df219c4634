"""Why this token, on the shipped model: from the logit to the input and back, numbers that agree, a measurement."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import SLOW_MS, OpenPage

from livelens.analysis.attribution import Attribution
from livelens.bench.server_process import ServerProcess
from livelens.model.frozen import FrozenModel
from livelens.model.torch_engine import TorchEngine

LAST = 13
MARY, JOHN = " Mary", " John"
NAME_MOVER = (23, 3)
# Attribution on two shared cores takes seconds; what is proved here is not its speed.
ANALYSIS = "window.livelens.store.analysis"


@pytest.fixture
def asked(open_page: OpenPage, real_server: ServerProcess, story_run: str) -> Page:
    """A page that was asked why the model says Mary and not John."""
    page = driving.open_run(open_page, real_server, story_run)
    page.set_default_timeout(SLOW_MS)
    driving.ask_why(page, LAST, JOHN)
    return page


def at_node(page: Page, node: str) -> None:
    """Until the walk stands at `node` and all that was asked about it is answered."""
    page.wait_for_function(
        f"node => {ANALYSIS}.walk.node.value === node && [...{ANALYSIS}.attributions.slots.value.entries()]"
        ".filter(([key]) => key.endsWith(` ${node}`)).every(([, slot]) => slot.answer)"
        f" && [...{ANALYSIS}.attributions.slots.value.keys()].some((key) => key.endsWith(` ${{node}}`))",
        arg=node,
    )


def attribution_of(engine: TorchEngine, token_ids: list[int]) -> Attribution:
    """The same question, asked of the Python functions."""
    model = FrozenModel(engine.model, engine.anatomy)
    mary, john = (engine.token_ids(text)[0] for text in (MARY, JOHN))
    return Attribution(model, model.run(token_ids[: LAST + 1], []), target_id=mary, distractor_id=john)


def test_walks_from_the_logit_to_a_head_to_a_token_and_back(asked: Page, engine: TorchEngine) -> None:
    """Each click goes on to a node; the page's numbers are the Python functions'."""
    page = asked
    attribution = attribution_of(engine, driving.token_ids(page))
    assert driving.number(page, "#metric-value") == pytest.approx(attribution.metric, rel=1e-3)
    assert driving.number(page, "#direct-sum") == pytest.approx(attribution.metric, rel=1e-3)
    at_node(page, f"logit@{LAST}")
    layer, head = NAME_MOVER
    node = f"L{layer}H{head}@{LAST}"
    page.locator(f".why-node .why-row[data-node='{node}']").click()
    at_node(page, node)
    assert driving.selected(page) == {"kind": "head", "layer": layer, "index": head}
    of_head = float(attribution.head_relevance(layer)[LAST, head])
    assert driving.number(page, "#why-relevance") == pytest.approx(of_head, rel=5e-3)
    assert page.locator(".why-part h3").all_inner_texts()[:3] == [
        "Fed by · Value", "Fed by · Query at key 9 “John”", "Fed by · Key at key 9 “John”",
    ]  # fmt: skip
    page.evaluate(f"() => ({ANALYSIS}.walk.threshold.value = 0)")
    token = page.locator(".why-node .why-row[data-node^='L0.mlp@9']").first
    token.click()
    at_node(page, "L0.mlp@9")
    page.locator(".why-node .why-row[data-node='embed@9']").first.click()
    at_node(page, "embed@9")
    assert page.locator("#why-node-name").inner_text() == "“ John”"
    for expected in ("L0.mlp@9", node, f"logit@{LAST}"):
        page.get_by_role("button", name="Back along the trail").click()
        at_node(page, expected)
    page.get_by_role("button", name="Forward along the trail").click()
    at_node(page, node)


def test_a_node_is_measured_beside_what_was_attributed(asked: Page) -> None:
    """One click ablates the head, and both numbers stand side by side."""
    page = asked
    at_node(page, f"logit@{LAST}")
    page.locator(".why-node .why-row[data-node='L23H3@13']").click()
    at_node(page, "L23H3@13")
    page.locator(".why-node-head .why-measure").click()
    page.wait_for_selector(".why-node-head .why-measured")
    measured = page.evaluate(f"() => {ANALYSIS}.measured.slots.value.get('L23H3').answer.effects.values[0]")
    assert measured > 1
    assert driving.number(page, ".why-node-head .why-effect") == pytest.approx(measured, rel=5e-3)


def test_paths_are_drawn_picked_and_saved(asked: Page, tmp_path: Path) -> None:
    """The strongest paths stand in the scene within its draw calls; a mark is clicked; a file brings them back."""
    page = asked
    page.locator("#strongest-paths").click()
    page.wait_for_function(f"() => {ANALYSIS}.paths.slot.value.answer")
    driving.at_rest(page)
    assert page.evaluate("() => window.livelens.scene.stats().draw_calls") <= 20
    nodes = page.evaluate(f"() => {ANALYSIS}.walk.graph.value.nodes.map((one) => one.node)")
    assert "L23H3@13" in nodes and any(node.startswith("embed@") for node in nodes)
    found = page.evaluate(
        "() => { const { scene } = window.livelens; const at = scene.node_position('L0.mlp@9');"
        " return at && [at, scene.pick_node(at.x, at.y)]; }"
    )
    assert found is not None and found[1] == "L0.mlp@9"
    box = page.locator("canvas").first.bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + found[0]["x"], box["y"] + found[0]["y"])
    at_node(page, "L0.mlp@9")
    page.get_by_text("Graph file").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as JSON").click()
    file = tmp_path / "graph.json"
    download.value.save_as(file)
    saved = json.loads(file.read_text(encoding="utf-8"))
    assert saved["metric"]["target_text"] == MARY and saved["model"]["weights_sha256"] and "text" not in saved
    page.locator(".why-menu input[type=file]").set_input_files(file)
    page.get_by_role("button", name="Close this graph").wait_for()
    expect(page.locator("#why-graph .graph-node")).to_have_count(len(saved["nodes"]))
    file.write_text('{"format": "livelens-graph", "version": 1}', encoding="utf-8")
    page.locator(".why-menu input[type=file]").set_input_files(file)
    page.get_by_text("This file cannot be opened as a graph: model is missing.").wait_for()


def test_bad_input_is_one_sentence_and_importance_is_complete(asked: Page) -> None:
    """Target equal to distractor is refused in the server's words; the tint says how complete it is."""
    page = asked
    page.get_by_label("Target token").fill(JOHN)
    page.keyboard.press("Enter")
    page.get_by_role("alert").filter(has_text="choose two that differ").wait_for()
    page.get_by_label("Target token").fill("")
    page.keyboard.press("Enter")
    page.wait_for_function(f"want => {ANALYSIS}.overview.slot.value.answer?.metric.target_text === want", arg=MARY)
    page.select_option(".metric select", "importance_frozen")
    page.locator("#completeness").filter(has_text="100.0 %").wait_for()
    expect(page.locator(".chips .chip[data-against]")).not_to_have_count(0)
