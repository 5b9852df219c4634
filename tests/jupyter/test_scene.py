"""`view.scene()` where it is used: in JupyterLab's browser, and in the file of a notebook that was run."""

from __future__ import annotations

import base64
import json
import time
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from playwright.sync_api import Locator, Page, expect
from tests.jupyter.jupyter_process import JupyterProcess
from tests.jupyter.lab_driving import click_until, colours_at, is_running, open_notebook, run_cell, said, wait_run
from tests.unit.notebook.projected import pixel_of

from livelens.notebook.camera import Pose, fit_pose, whole_network
from livelens.notebook.layout import build_blocks, head_places

SHAPE = SimpleNamespace(n_layers=12, n_heads=6, d_mlp=256)
SIZE = (800, 420)
CELLS = (
    f"""
import json, livelens
view = livelens.view('fake:12x6x256@12')
scene = view.scene(look_from='front', width={SIZE[0]}, height={SIZE[1]})
scene""",
    """
from pathlib import Path
for step in view.generate('When Mary', max_new_tokens=1000):  # without a moment for anything else
    if Path('enough').exists():
        break""",
    """
generation = view.generate('When Mary and John went', max_new_tokens=1000)
n_after = 0
async for step in generation:  # until a few tokens after the ablation
    n_after += bool(view.ablated)
    if n_after > 6:
        break
await generation.stop.aio()""",
    """
scene.refresh()
print(json.dumps({
    "heads": scene.network.heads.geometry.attributes["color"].array.tolist(),
    "selected": view.selection.name,
    "log": [[spec.intervention_id for spec in at.interventions] for at in generation.run.intervention_log],
    "written": view.array("heads")[-1, 7, 4].item(),
}))""",
    "print(json.dumps([scene.pose.position, scene.pose.target, view.selection.name]))",
    "view.select(None)",
    "view.close()\nscene.close()",
)
ABLATED = "L7H4"
CLICKED_LATER = "L3H2"
CANVAS = ".jp-OutputArea canvas"


def test_the_canvas_lights_up_and_a_click_reaches_python(lab: JupyterProcess, page: Page) -> None:
    """Other colours with the tokens; in the midst of a cell a click selects and the button ablates.

    A click after that, and after a drag and a zoom, is heard too, and so is a second one on the same place.
    """
    elsewhere: list[str] = []
    page.on("request", lambda sent: elsewhere.append(sent.url) if is_elsewhere(sent.url, lab) else None)
    open_notebook(page, lab, "scene.ipynb", [cell.strip() for cell in CELLS])
    cell = page.locator(".jp-CodeCell").first
    canvas = run_cell(page, 0).locator("canvas")
    expect(canvas).to_be_visible()
    blocks = build_blocks(SHAPE)
    pose = fit_pose(whole_network(blocks), "front", SIZE[0] / SIZE[1])
    places = [pixel_of(pose, *SIZE, x, y) for x, y in head_places(blocks)]
    seen = [colours_at(page, CANVAS, places)]
    assert np.ptp(np.array(seen[0]), axis=0).max() < 12  # nothing was generated yet
    run_cell(page, 1)
    while len({json.dumps(colours) for colours in seen}) < 3:
        assert is_running(page, 1), seen
        seen.append(colours_at(page, CANVAS, places))
    (lab.folder / "enough").touch()
    wait_run(page, 1)

    run_cell(page, 2)
    click_until(canvas, places[7 * blocks.n_heads + 4], cell.get_by_text(f"{ABLATED} @"))
    assert is_running(page, 2)
    page.get_by_role("button", name="Ablate").click()
    expect(page.get_by_role("button", name="Restore")).to_be_visible()
    wait_run(page, 2)
    told = json.loads(said(page, 3))
    assert told["selected"] == ABLATED and told["log"][-1] == [ABLATED] and told["written"] == 0
    wait_shown(page, places, told["heads"])
    turned = turned_and_nearer(page, canvas, pose)
    place = pixel_of(turned, *SIZE, *head_places(blocks)[3 * blocks.n_heads + 2])
    for _ in range(2):
        click_until(canvas, place, cell.get_by_text(f"{CLICKED_LATER} @"))
        run_cell(page, 5)
        expect(cell.get_by_text("Click a part")).to_be_visible()
    run_cell(page, 6)
    wait_run(page, 6)
    expect(canvas).to_have_count(0)
    assert not elsewhere, "it needs no other host"


def wait_shown(page: Page, places: list[tuple[int, int]], colours: list[list[int]]) -> None:
    """Until the canvas has these colours; it is drawn a moment after the kernel has sent them."""
    deadline = time.monotonic() + 90
    while np.abs(np.array(shown := colours_at(page, CANVAS, places)) - np.array(colours)).max() > 10:
        assert time.monotonic() < deadline, shown


def turned_and_nearer(page: Page, canvas: Locator, pose: Pose) -> Pose:
    """Turn and zoom until Python has heard of both and the camera rests; no drag may have selected anything."""
    turn_and_zoom(page, canvas)
    before, deadline = pose, time.monotonic() + 90
    while time.monotonic() < deadline:
        position, target, selected = json.loads(said(page, 4))
        assert selected == ABLATED
        now = Pose(tuple(position), tuple(target))
        if now == before:
            if distance(now) < 0.97 * distance(pose) and now.position[0] != pytest.approx(pose.position[0]):
                return now
            turn_and_zoom(page, canvas)  # it was not heard
        before = now
    raise AssertionError("the camera stayed where it was")


def distance(of: Pose) -> float:
    """Of the camera from what it looks at."""
    return float(np.linalg.norm(np.subtract(of.position, of.target)))


def turn_and_zoom(page: Page, canvas: Locator) -> None:
    """A drag and a turn of the wheel."""
    box = canvas.bounding_box()
    assert box is not None
    x, y = box["x"] + SIZE[0] / 2, box["y"] + SIZE[1] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 70, y + 30, steps=4)
    page.mouse.up()
    page.mouse.wheel(0, -200)


def is_elsewhere(url: str, lab: JupyterProcess) -> bool:
    return not url.startswith((lab.origin, "data:", "blob:"))


@pytest.fixture(scope="module")
def executed() -> nbformat.NotebookNode:
    """The notebook after it was run and saved as JupyterLab saves it: without the state of widgets."""
    ablate = "view.ablate('L3H2')\nscene.panel.table.value"
    generate = "view.generate('When Mary', max_new_tokens=48).finish().text"
    cells = [CELLS[0].replace("@12", ""), generate, ablate, CELLS[-1]]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=240, startup_timeout=240, store_widget_state=False).execute()
    return notebook


def test_a_saved_notebook_holds_the_widget_and_the_lit_picture(executed: nbformat.NotebookNode) -> None:
    outputs = executed.cells[0].outputs
    assert len(outputs) == 1
    data = outputs[0].data
    assert "application/vnd.jupyter.widget-view+json" in data
    png = base64.b64decode(data["image/png"])
    written = [output.output_type for cell in executed.cells[1:] for output in cell.outputs]
    assert written == ["execute_result", "execute_result"]  # no cell's end went wrong
    assert png.startswith(b"\x89PNG") and len(png) > 10_000  # a dark network packs into less


def test_an_export_shows_the_picture(executed: nbformat.NotebookNode) -> None:
    html, _ = HTMLExporter().from_notebook_node(executed)
    assert "data:image/png;base64," + executed.cells[0].outputs[0].data["image/png"][:60].strip() in html
    assert '<script type="application/vnd.jupyter.widget-view+json">' not in html
