"""A notebook in JupyterLab, driven as a person would: opened, run cell by cell, looked at."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Sequence

import nbformat
from playwright.sync_api import FloatRect, Locator, Page, expect
from tests.jupyter.jupyter_process import BASE_URL, TOKEN, JupyterProcess

_KERNEL_MSECS = 90_000
_TRIES = 6
_TRY_MSECS = 10_000


def open_notebook(page: Page, lab: JupyterProcess, name: str, cells: Sequence[str]) -> None:
    """A new notebook of these cells, with a kernel that is ready; the first cell is the next to be run."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, lab.folder / name)
    page.goto(f"{lab.origin}{BASE_URL}lab/tree/{name}?token={TOKEN}&reset", timeout=_KERNEL_MSECS)
    page.wait_for_selector(".jp-NotebookPanel .jp-CodeCell", timeout=_KERNEL_MSECS)
    wait_idle(page)
    page.locator(".jp-CodeCell .jp-InputArea-editor").first.click()


def wait_idle(page: Page) -> None:
    """Until the notebook has a kernel that has nothing to do: an indicator says idle before there is one."""
    page.wait_for_function(_IDLE, timeout=_KERNEL_MSECS)


def run_cell(page: Page, index: int) -> Locator:
    """Begin to run a cell, as Ctrl-Enter does, of which JupyterLab loses some while it is busy; its outputs."""
    page.evaluate(_RUN, index)
    return page.locator(".jp-CodeCell").nth(index).locator(".jp-OutputArea")


def is_running(page: Page, index: int) -> bool:
    """The cell has not ended yet."""
    return not page.evaluate("index => window.ended[index]", index)


def wait_run(page: Page, index: int) -> None:
    """Until a cell that was begun has ended, and its outputs are there."""
    page.wait_for_function("index => window.ended[index]", arg=index, timeout=_KERNEL_MSECS)


def said(page: Page, index: int) -> str:
    """Run a cell to its end; what it wrote."""
    run_cell(page, index)
    wait_run(page, index)
    return str(page.evaluate(_WRITTEN, index)).strip()


def restart_kernel(page: Page) -> None:
    """As the menu does, without its question."""
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.restartKernel()")
    wait_idle(page)


def click_until(canvas: Locator, place: tuple[int, int], seen: Locator) -> None:
    """Click until something is seen: a canvas that a cell's end has just made anew hears nothing for a moment."""
    x, y = place
    for _ in range(_TRIES):
        canvas.click(position={"x": x, "y": y})
        with contextlib.suppress(AssertionError):
            expect(seen).to_be_visible(timeout=_TRY_MSECS)
            break
    expect(seen).to_be_visible()


_IDLE = """() => {
  const context = window.jupyterapp.shell.currentWidget?.sessionContext;
  const kernel = context?.isReady ? context.session?.kernel : undefined;
  return kernel?.connectionStatus === "connected" && kernel.status === "idle";
}"""
_RUN = """index => {
  const { commands, shell } = window.jupyterapp;
  const notebook = shell.currentWidget.content;
  notebook.deselectAll();
  notebook.activeCellIndex = index;
  window.ended = { ...window.ended, [index]: false };
  commands.execute("notebook:run-cell").finally(() => (window.ended[index] = true));
}"""
_WRITTEN = """index => {
  const outputs = window.jupyterapp.shell.currentWidget.content.widgets[index].model.outputs.toJSON();
  return outputs.map((output) => [output.text ?? ""].flat().join("")).join("");
}"""
_IN_SIGHT = """selector => {
  const element = document.querySelector(selector);
  element?.scrollIntoView({block: "nearest"});
  const rect = element?.getBoundingClientRect();
  return rect && rect.width > 0 ? {x: rect.x, y: rect.y, width: rect.width, height: rect.height} : null;
}"""
_READ = """async ([png, places]) => {
  const blob = await (await fetch("data:image/png;base64," + png)).blob();
  const bitmap = await createImageBitmap(blob);
  const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  context.drawImage(bitmap, 0, 0);
  return places.map(([x, y]) => [...context.getImageData(x, y, 1, 1).data.slice(0, 3)]);
}"""


def colours_at(page: Page, selector: str, places: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Red, green and blue of the first such element's picture at `places`, CSS pixels from its top left.

    At the end of a cell an output may be made anew: one element's handle would be lost in that moment.
    """
    clip: FloatRect = page.wait_for_function(_IN_SIGHT, arg=selector).json_value()
    picture = base64.b64encode(page.screenshot(clip=clip)).decode("ascii")
    colours: list[list[int]] = page.evaluate(_READ, [picture, [list(place) for place in places]])
    return colours
