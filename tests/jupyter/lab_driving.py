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
_TRY_MSECS = 5_000


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
    """Until the kernel has nothing to do."""
    indicator = ".jp-Notebook-ExecutionIndicator[data-status='idle']"
    page.wait_for_selector(indicator, state="attached", timeout=_KERNEL_MSECS)


def run_cell(page: Page, index: int) -> Locator:
    """Begin to run a cell; its outputs. A key that JupyterLab is too busy for is lost, and pressed again."""
    cell = page.locator(".jp-CodeCell").nth(index)
    prompt = cell.locator(".jp-InputPrompt")
    before = prompt.inner_text()
    for _ in range(_TRIES):
        cell.locator(".jp-InputArea-editor").click()
        page.keyboard.press("Control+Enter")
        with contextlib.suppress(AssertionError):
            expect(prompt).not_to_have_text(before, timeout=_TRY_MSECS)
            break
    return cell.locator(".jp-OutputArea")


def click_until(canvas: Locator, place: tuple[int, int], seen: Locator) -> None:
    """Click until something is seen: a canvas that a cell's end has just made anew hears nothing for a moment."""
    x, y = place
    for _ in range(_TRIES):
        canvas.click(position={"x": x, "y": y})
        with contextlib.suppress(AssertionError):
            expect(seen).to_be_visible(timeout=_TRY_MSECS)
            break
    expect(seen).to_be_visible()


def is_running(page: Page, index: int) -> bool:
    """The cell has not ended yet."""
    return page.locator(".jp-CodeCell").nth(index).locator(".jp-InputPrompt").inner_text().strip() == "[*]:"


def wait_run(page: Page, index: int) -> None:
    """Until a cell that was begun has ended."""
    prompt = page.locator(".jp-CodeCell").nth(index).locator(".jp-InputPrompt")
    expect(prompt).not_to_have_text("[*]:", timeout=_KERNEL_MSECS)


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
