"""The graph of a walk as files: what is saved is what is on the screen, and it comes back by choosing or dropping."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from xml.etree import ElementTree

import pytest
from playwright.sync_api import Download, Page, expect
from tests.browser import page_driving as driving
from tests.browser.page_driving import SLOW_MS, OpenPage

from livelens.bench.server_process import ServerProcess

LAST = 13
ANALYSIS = "window.livelens.store.analysis"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def page(open_page: OpenPage, real_server: ServerProcess, story_run: str) -> Page:
    """The strongest paths to " Mary" drawn flat."""
    page = driving.open_run(open_page, real_server, story_run)
    page.set_default_timeout(SLOW_MS)
    driving.ask_why(page, LAST, " John")
    page.locator("#strongest-paths").click()
    page.wait_for_function(f"() => {ANALYSIS}.paths.slot.value.answer")
    page.get_by_role("radio", name="Graph").or_(page.get_by_role("button", name="Graph", exact=True)).first.click()
    expect(page.locator("#why-graph .graph-node").first).to_be_visible()
    page.wait_for_function(
        f"() => document.querySelectorAll('#why-graph .graph-node').length === {ANALYSIS}.walk.graph.value.nodes.length"
    )
    return page


def saved(page: Page, kind: str, tmp_path: Path) -> Path:
    page.get_by_text("Graph file", exact=True).click()
    with page.expect_download() as caught:
        page.get_by_role("button", name=f"Save as {kind}").click()
    download: Download = caught.value
    file = tmp_path / download.suggested_filename
    download.save_as(file)
    return file


def shown_nodes(page: Page) -> dict[str, float]:
    """What each node of the drawing says it carries."""
    labels = page.locator("#why-graph .graph-node").evaluate_all(
        "nodes => nodes.map((n) => n.getAttribute('aria-label'))"
    )
    pairs = (label.split(", ") for label in labels)
    return {node: float(value.replace("\N{MINUS SIGN}", "-")) for node, value in pairs if value != "–"}


def drop(page: Page, text: str, name: str) -> None:
    """A file let go of over the panel, as a browser tells the page of it."""
    page.evaluate(
        """([text, name]) => {
            const files = new DataTransfer();
            files.items.add(new File([text], name, { type: "application/json" }));
            for (const kind of ["dragover", "drop"]) {
                const event = new DragEvent(kind, { bubbles: true, cancelable: true, dataTransfer: files });
                document.querySelector(".why").dispatchEvent(event);
                if (!event.defaultPrevented) throw new Error(`${kind} would leave the page`);
            }
        }""",
        [text, name],
    )


def test_the_numbers_in_the_file_are_those_on_the_screen_and_come_back_by_drop(page: Page, tmp_path: Path) -> None:
    """Every node and every edge; in another tab, which has another run; a file that is none changes nothing."""
    before = shown_nodes(page)
    edges = page.locator("#why-graph .edge title").all_inner_texts() or page.locator(
        "#why-graph .edge title"
    ).evaluate_all("titles => titles.map((t) => t.textContent)")
    file = saved(page, "JSON", tmp_path)
    content = json.loads(file.read_text(encoding="utf-8"))
    in_file = {node["node"]: node["relevance"] for node in content["nodes"] if node["relevance"] is not None}
    assert before.keys() == in_file.keys() and len(before) > 5
    for node, value in before.items():
        assert value == pytest.approx(in_file[node], rel=5e-3, abs=1e-9), node
    assert len(content["edges"]) == len(edges)
    exact = page.evaluate(f"() => {ANALYSIS}.walk.graph.value.edges.map((edge) => edge.weight)")
    assert [edge["weight"] for edge in content["edges"]] == exact
    assert content["metric"]["value"] == page.evaluate(f"() => {ANALYSIS}.overview.slot.value.answer.metric.value")

    driving.run_to_end(page, "Something else", length=2)
    page.get_by_role("tab", name="Why", exact=True).click()
    drop(page, file.read_text(encoding="utf-8"), file.name)
    expect(page.locator(".why-opened")).to_contain_text(file.name)
    expect(page.locator("#why-graph .edge")).to_have_count(len(edges))
    assert shown_nodes(page) == before
    drop(page, '{"format": "livelens-graph", "version": 9}', "newer.json")
    page.get_by_text("This file cannot be opened as a graph: its version is not 1.").wait_for()
    assert shown_nodes(page) == before
    page.get_by_role("button", name="Close this graph").click()
    expect(page.locator(".why-opened")).to_have_count(0)


def test_the_pictures_are_whole_pictures(page: Page, tmp_path: Path) -> None:
    """SVG: every node's name and every edge, colours of its own; PNG: not empty, in the drawing's proportions."""
    nodes, edges = page.locator("#why-graph .graph-node"), page.locator("#why-graph .edge")
    svg = ElementTree.parse(saved(page, "SVG", tmp_path)).getroot()  # just made by this page
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    assert set(nodes.locator("text").all_text_contents()) <= set(texts)
    drawn = [path for path in svg.iter(f"{SVG}path") if path.get("stroke") not in (None, "none")]
    assert len(drawn) == edges.count()
    assert not any(element.get("class") or element.get("style") for element in svg.iter() if element is not svg)
    assert re.fullmatch(r"rgb\(.*\)", next(svg.iter(f"{SVG}rect")).get("fill") or "")
    png = saved(page, "PNG", tmp_path).read_bytes()
    assert png.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", png[16:24])
    assert width / height == pytest.approx(float(svg.get("width") or 0) / float(svg.get("height") or 1), rel=0.02)
    assert len(png) > 5000
