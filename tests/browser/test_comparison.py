"""The picture beyond one run's own values: another run's, what was measured, and a graph from a file."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import SLOW_MS, OpenPage

from livelens.bench.server_process import ServerProcess

OTHER = "When Mary and John went to the store, Mary gave a drink to"
GIVER, LAST = 9, 13
ANALYSIS = "window.livelens.store.analysis"


@pytest.fixture
def page(open_page: OpenPage, real_server: ServerProcess, story_run: str) -> Page:
    """A finished run, its last prompt token shown, the panel open."""
    page = driving.open_run(open_page, real_server, story_run)
    page.set_default_timeout(SLOW_MS)
    driving.look_at(page, LAST)
    driving.open_panel(page)
    return page


def compared(page: Page, pos: int) -> None:
    page.wait_for_function(f"pos => {ANALYSIS}.comparison.answers.value.has(pos)", arg=pos, timeout=SLOW_MS)


def shown_run(page: Page, name: str) -> None:
    """Press one of the switch over the picture."""
    page.locator(".channel-picker").get_by_role("button", name=name, exact=True).click()


def head_colours(page: Page) -> dict[str, tuple[int, int, int]]:
    """The colours of two heads as they are in the picture, looked at straight on."""
    page.get_by_role("button", name="Front view").click()
    found = {}
    for layer, head in ((23, 3), (2, 0)):
        driving.focus_camera(page, "head", layer, head)
        driving.at_rest(page)
        x, y = driving.canvas_point(page, "head", layer, head)
        picture = page.screenshot(clip={"x": x - 1, "y": y - 1, "width": 3, "height": 3})
        found[f"L{layer}H{head}"] = page.evaluate(
            """async (bytes) => {
                const bitmap = await createImageBitmap(new Blob([Uint8Array.from(bytes)], { type: "image/png" }));
                const context = new OffscreenCanvas(3, 3).getContext("2d");
                context.drawImage(bitmap, 0, 0);
                return [...context.getImageData(1, 1, 1, 1).data.slice(0, 3)];
            }""",
            list(picture),
        )
    page.get_by_role("button", name="Fit").click()
    return found


def test_two_prompts_side_by_side_in_the_picture_the_table_and_the_inspector(page: Page) -> None:
    page.get_by_role("tab", name="Two prompts").click()
    page.get_by_label("Target token").fill(" Mary")
    page.get_by_label("Distractor token").fill(" John")
    button = page.get_by_role("button", name="Compare side by side")
    expect(button).to_be_disabled()
    page.get_by_label("Second prompt").fill(OTHER)
    button.click()
    compared(page, LAST)
    assert driving.number(page, "#own-prob") == pytest.approx(92.3, abs=0.2)
    assert driving.number(page, "#other-prob") == pytest.approx(0.3, abs=0.1)
    expect(page.locator(".comparison")).to_contain_text("Before position 9 (“ Mary” there) both compute the same")
    expect(page.locator(".chips .differs")).to_have_text(["John"])
    page.locator(".chips button").nth(GIVER).hover()
    expect(page.locator(".chip-card")).to_contain_text("In the other run: “ Mary”")
    assert driving.axe_violations(page) == []

    legend = page.get_by_label("Legend")
    expect(legend).to_contain_text("This run \N{MINUS SIGN} the other")
    first = page.locator(".comparison-strongest tbody tr").first
    expect(first).to_contain_text("L23H3")
    first.get_by_role("button").click()
    assert driving.selected(page) == {"kind": "head", "layer": 23, "index": 3}
    value = page.evaluate(f"() => {ANALYSIS}.comparison.answers.value.get({LAST}).difference.heads.values[23 * 9 + 3]")
    assert value < -20
    assert driving.number(page, "#difference-value") == pytest.approx(value, rel=1e-3)
    expect(page.locator(".compared-facts")).to_contain_text("Looks, this run \N{MINUS SIGN} other")
    red, _, blue = head_colours(page)["L23H3"]
    assert blue > red + 40, "more in the other run: blue"

    page.get_by_role("tab", name="Components").click()
    page.get_by_role("columnheader", name="This \N{MINUS SIGN} other").get_by_role("button").click()
    row = page.locator("[role=grid] [role=row]").nth(1)
    largest = page.evaluate(
        f"""() => {{
            const {{ attn_out, mlp_out, heads, neurons }} = {ANALYSIS}.comparison.answers.value.get({LAST}).difference;
            const largest = ({{ values }}) => values.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
            return Math.max(...[attn_out, mlp_out, heads, neurons].map(largest));
        }}"""
    )
    shown = row.get_by_role("gridcell").nth(2)
    driving.until(page, lambda: abs(driving.as_number(shown.inner_text())) == pytest.approx(largest, rel=1e-2))
    shown_run(page, "Other")
    expect(page.get_by_role("columnheader", name="Other run")).to_be_visible()
    expect(legend).to_contain_text("The other run: Activation size")
    shown_run(page, "This run")
    expect(page.get_by_role("columnheader", name="Value")).to_be_visible()


def test_walking_on_asks_for_the_next_token_and_before_the_first_other_token_nothing_differs(page: Page) -> None:
    page.get_by_role("tab", name="Two prompts").click()
    page.get_by_label("Second prompt").fill(OTHER)
    page.get_by_role("button", name="Compare side by side").click()
    compared(page, LAST)
    driving.look_at(page, GIVER - 1)
    compared(page, GIVER - 1)
    expect(page.locator(".comparison-strongest").first).to_contain_text("None: both runs are the same here.")
    assert page.evaluate(
        f"() => Object.values({ANALYSIS}.comparison.answers.value.get({GIVER - 1}).difference)"
        ".every(({ values }) => values.every((value) => value === 0))"
    )
    page.keyboard.press("ArrowRight")
    compared(page, GIVER)
    expect(page.locator(".comparison-strongest").first).not_to_contain_text("None")
    page.get_by_role("button", name="Stop comparing").click()
    expect(page.locator(".compared-switch")).to_have_count(0)
    expect(page.locator(".chips .differs")).to_have_count(0)


def test_a_run_beside_itself_without_its_ablation(open_page: OpenPage, fake_server: ServerProcess) -> None:
    page = open_page(fake_server)
    driving.ablate(page, "head", 23, 3)
    driving.run_to_end(page, driving.STORY, length=2)  # begins with it
    driving.look_at(page, LAST)
    driving.open_tab(page, "Two prompts")
    page.get_by_label("other run without my interventions").check()
    page.get_by_role("button", name="Compare side by side").click()
    compared(page, LAST)
    expect(page.locator(".comparison")).to_contain_text("the same tokens, without the interventions")
    other, difference = driving.number(page, "#other-value"), driving.number(page, "#difference-value")
    assert difference == pytest.approx(-other, rel=1e-3)
    assert other > 0.1


def test_the_causal_map_in_the_picture(page: Page) -> None:
    page.get_by_role("tab", name="Two prompts").click()
    page.get_by_label("Target token").fill(" Mary")
    page.get_by_label("Distractor token").fill(" John")
    page.get_by_role("tab", name="Causal map").click()
    causal = page.locator(".channel-picker").get_by_role("button", name="Causal", exact=True)
    expect(causal).to_be_disabled()
    for scope in ("heads", "mlps"):
        page.get_by_label("Which parts").select_option(scope)
        page.get_by_role("button", name=re.compile("Measure after 13")).click()
        page.wait_for_function(
            f"scope => {{ const {{ answer, progress }} = {ANALYSIS}.causal_map.slot.value;"
            " return answer?.scope === scope && !progress; }",
            arg=scope,
            timeout=SLOW_MS,
        )
    causal.click()
    answers = page.evaluate(
        f"() => {ANALYSIS}.causal.answers.value.map(({{ scope, spearman, effects, attributed }}) =>"
        " [scope, spearman, effects.values[23 * 9 + 3], attributed.values[23 * 9 + 3]])"
    )
    legend = page.get_by_label("Legend")
    for (_, spearman, *_), word in zip(answers, ("heads", "MLPs"), strict=True):
        expect(legend).to_contain_text(f"{word} {spearman:.2f}".replace("-", "\N{MINUS SIGN}"))
    measured, attributed = answers[0][2:]
    red, _, blue = head_colours(page)["L23H3"]
    assert measured > 1
    assert red > blue + 40, "it helps: orange"
    driving.select(page, "head", 23, 3)
    facts = page.locator(".inspector .facts").first
    shown = f"{measured:.3g}"
    expect(facts).to_contain_text("Measured effect")
    expect(facts).to_contain_text(f"+{shown}")
    which = page.get_by_role("group", name="Which map")
    which.get_by_role("button", name="Attributed").click()
    expect(facts).to_contain_text(f"{attributed:+.3g}")
    which.get_by_role("button", name="Difference").click()
    expect(legend).to_contain_text("Measured \N{MINUS SIGN} attributed")
    page.get_by_role("tab", name="Components").click()
    expect(page.get_by_role("columnheader", name="Measured \N{MINUS SIGN} attributed")).to_be_visible()
    assert driving.axe_violations(page) == []
    driving.look_at(page, LAST - 1)
    expect(legend).to_contain_text("Measured after position 13")


def graph_file(sha: str, shape: dict[str, int], path: Path) -> Path:
    """A graph of another text: one path from its first token through L23H3 to its logit at position 5."""
    file = {
        "format": "livelens-graph",
        "version": 1,
        "model": {"model_name": "another", "weights_sha256": sha, **shape},
        "metric": {
            "pos": 5,
            "target_id": 1,
            "target_text": " Paris",
            "distractor_id": None,
            "distractor_text": None,
            "value": 2.0,
        },
        "nodes": [
            {"node": node, "relevance": 1.0, "label": node, "pin": None} for node in ("embed@2", "L23H3@5", "logit@5")
        ],
        "edges": [
            {"writer": "embed@2", "reader": "L23H3@5", "part": "value", "weight": 1.0},
            {"writer": "L23H3@5", "reader": "logit@5", "part": "input", "weight": -0.5},
        ],
        "n_hidden": 0,
        "scale": 1.0,
        "score_scale": 0.0,
        "tokens": [{"pos": 2, "token_id": 7, "text": " Eiffel"}],
    }
    path.write_text(json.dumps(file))
    return path


def test_a_graph_from_a_file_is_drawn_with_its_own_tokens_or_the_reason_is_said(page: Page, tmp_path: Path) -> None:
    page.get_by_role("tab", name="Why", exact=True).click()
    shape = {"n_layers": 30, "n_heads": 9, "d_mlp": 1536}
    page.locator(".why-menu input[type=file]").set_input_files(graph_file("cd" * 32, shape, tmp_path / "same.json"))
    opened = page.locator(".why-opened")
    expect(opened).to_contain_text("Drawn in the picture too, with its own tokens.")
    expect(page.get_by_label("Legend")).to_contain_text("A graph from a file")
    driving.at_rest(page)
    place = page.evaluate("() => window.livelens.scene.node_position('L23H3@5')")
    at = page.locator("canvas").first.bounding_box()
    assert at is not None
    assert page.evaluate("p => window.livelens.scene.pick_node(p.x, p.y)", place) == "L23H3@5"
    page.mouse.click(at["x"] + place["x"], at["y"] + place["y"])
    assert driving.selected(page) == {"kind": "head", "layer": 23, "index": 3}
    page.get_by_role("button", name="Close this graph").click()
    expect(page.get_by_label("Legend")).not_to_contain_text("A graph from a file")

    other = graph_file("cd" * 32, {"n_layers": 12, "n_heads": 12, "d_mlp": 3072}, tmp_path / "other.json")
    page.locator(".why-menu input[type=file]").set_input_files(other)
    expect(opened).to_contain_text("It is of a model with 12 layers of 12 heads and 3072 neurons")
    expect(opened).to_contain_text("shown flat only")
    expect(page.locator("#why-graph")).to_be_visible()
    expect(page.get_by_label("Legend")).not_to_contain_text("A graph from a file")
