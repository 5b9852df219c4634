"""The notebooks of examples/ run, say what their files say, and what their files say holds."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from jupyter_client import AsyncKernelManager
from nbformat import NotebookNode
from scripts.run_notebooks import EXAMPLES, execute, kernel, notebooks, read, source_sha256

MAX_BYTES = 300_000
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)")  # not those in L12H3
NOTEBOOKS = pytest.mark.parametrize("path", notebooks(), ids=lambda path: path.stem)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def manager() -> AsyncIterator[AsyncKernelManager]:
    """One kernel, emptied before each notebook."""
    async with kernel() as started:
        yield started


def written(output: NotebookNode) -> str:
    """What is read of an output, in one line."""
    text: str = output.text if output.output_type == "stream" else output.data.get("text/plain", "")
    return " ".join(text.split())


def kinds(cell: NotebookNode) -> list[list[str]]:
    """Of each output of a cell, what it is."""
    return [[output.output_type, *sorted(output.get("data", {}))] for output in cell.outputs]


@NOTEBOOKS
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.timeout(900)  # of a machine that has other things to do; 15 s where it has not
async def test_it_runs_and_says_what_its_file_says(path: Path, manager: AsyncKernelManager) -> None:
    """Its own asserts hold the claims of its prose; words must be the same, numbers nearly."""
    kept = read(path)
    made = await execute(kept, manager)
    for old, new in zip(kept.cells, made.cells, strict=True):
        if old.cell_type != "code":
            continue
        assert kinds(new) == kinds(old), old.source
        for before, after in zip(old.outputs, new.outputs, strict=True):
            was, now = written(before), written(after)
            assert NUMBER.sub("#", now) == NUMBER.sub("#", was)
            numbers = [float(number) for number in NUMBER.findall(was)]
            assert [float(number) for number in NUMBER.findall(now)] == pytest.approx(numbers, rel=0.03, abs=0.02)


@NOTEBOOKS
def test_its_file_is_of_the_cells_that_were_run_and_tells_of_no_machine(path: Path) -> None:
    kept = read(path)
    remedy = f"its cells were changed since: python scripts/run_notebooks.py {path.stem}"
    assert kept.metadata.get("livelens", {}).get("source_sha256") == source_sha256(kept), remedy
    text = path.read_text()
    assert len(text) < MAX_BYTES
    for foreign in (str(EXAMPLES.parent), str(Path.home()), "widget-state", "model_id", "iopub", "token="):
        assert foreign not in text, foreign
    assert f"({path.name})" in (EXAMPLES / "README.md").read_text()
