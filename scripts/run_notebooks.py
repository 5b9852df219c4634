"""Run the notebooks of examples/ on the shipped model and write them back with what came out.

python scripts/run_notebooks.py [first_look ...]

A notebook is its own source: edit it in Jupyter, then run this. What is kept of a run is text, tables and still
pictures; nothing that tells of the machine or the hour. `source_sha256` in a notebook's metadata says of which cells
the kept outputs are.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import io
import json
import os
import re
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import nbformat
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from nbclient import NotebookClient
from nbformat import NotebookNode
from PIL import Image

EXAMPLES: Final = Path(__file__).resolve().parents[1] / "examples"
CELL_TIMEOUT_SECS: Final = 240  # of a machine that has other things to do
_KERNEL: Final = "livelens-gallery"
_KEPT_TYPES: Final = ("text/plain", "text/html", "image/png")  # a widget means nothing without its kernel
_WIDGET: Final = "application/vnd.jupyter.widget-view+json"
_PROGRESS: Final = re.compile(r"\w+: \d+ of \d+( in [\d.]+ s)?")
_PICTURE: Final = re.compile(r"(data:image/png;base64,)([A-Za-z0-9+/=]+)")
_NO_ADDRESS: Final = "http://127.0.0.1:PORT/"
_ADDRESS: Final = re.compile(r"http://127\.0\.0\.1:\d+/[^\s<\"']*")
_OFFLINE: Final = {
    "HF_HUB_OFFLINE": "1",
    "TQDM_DISABLE": "1",
    **dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9"),
}


def notebooks() -> list[Path]:
    """The gallery, in its order."""
    return sorted(EXAMPLES.glob("*.ipynb"))


def read(path: Path) -> NotebookNode:
    """A notebook file."""
    return nbformat.read(path, as_version=4)


def source_sha256(notebook: NotebookNode) -> str:
    """Of the code, whatever came out of it; prose may be put better without another run."""
    code = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    return hashlib.sha256(json.dumps(code).encode()).hexdigest()


@asynccontextmanager
async def kernel() -> AsyncIterator[AsyncKernelManager]:
    """One process of this interpreter for all notebooks, so that torch is loaded once; nobody's configuration."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spec = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "language": "python"}
        (folder / _KERNEL).mkdir()
        (folder / _KERNEL / "kernel.json").write_text(json.dumps({**spec, "display_name": "Python 3"}))
        manager = AsyncKernelManager(
            kernel_name=_KERNEL,
            kernel_spec_manager=KernelSpecManager(kernel_dirs=[name], ensure_native_kernel=False),
            connection_file=str(folder / "connection.json"),
        )
        own = {place: name for place in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR")}
        environment = {key: value for key, value in os.environ.items() if not key.startswith(("VSCODE_", "JPY_"))}
        await manager.start_kernel(env=environment | own | _OFFLINE, cwd=name)
        try:
            yield manager
        finally:
            await manager.shutdown_kernel(now=True)


async def execute(notebook: NotebookNode, manager: AsyncKernelManager) -> NotebookNode:
    """A copy with the outputs of a run in an empty namespace; raises CellExecutionError where a cell fails."""
    done = nbformat.from_dict(notebook)
    client = NotebookClient(done, km=manager, timeout=CELL_TIMEOUT_SECS, record_timing=False, store_widget_state=False)
    client.reset_execution_trackers()
    async with client.async_setup_kernel():
        reply = await client.kc.execute("%reset -f", reply=True, timeout=CELL_TIMEOUT_SECS)
        if reply["content"]["status"] != "ok":
            raise RuntimeError(f"the kernel could not be emptied: {reply['content']}")
        for index, cell in enumerate(done.cells):
            await client.async_execute_cell(cell, index)
    client.kc.stop_channels()
    return tidied(done)


def tidied(notebook: NotebookNode) -> NotebookNode:
    """Without what the next run would make differently: ids, addresses, times, widgets."""
    n_run = 0
    for index, cell in enumerate(notebook.cells):
        cell.id = f"cell-{index}"
        cell.metadata = NotebookNode()
        if cell.cell_type == "code":
            n_run += 1
            cell.execution_count = n_run
            cell.outputs = _tidied_outputs(cell.outputs, n_run)
    notebook.metadata = NotebookNode(
        kernelspec={"display_name": "Python 3", "language": "python", "name": "python3"},
        language_info={"name": "python"},
        livelens={"source_sha256": source_sha256(notebook)},
    )
    return notebook


def _tidied_outputs(outputs: list[NotebookNode], n_run: int) -> list[NotebookNode]:
    """Raises RuntimeError for an error of something that ran beside the cell, and for anything on stderr."""
    kept: list[NotebookNode] = []
    for output in outputs:
        if output.output_type == "error" or output.get("name") == "stderr":
            raise RuntimeError(f"in cell {n_run}: {output.get('text') or chr(10).join(output.traceback)}")
        if output.output_type == "stream":
            if kept and kept[-1].output_type == "stream":  # what was printed comes in pieces, as the hour has it
                kept[-1].text += output.text
            else:
                kept.append(output)
        elif _is_still(output.data):
            data = {kind: _still(kind, value) for kind, value in output.data.items() if kind in _KEPT_TYPES}
            kept.append(nbformat.v4.new_output(output.output_type, data))
            if output.output_type == "execute_result":
                kept[-1].execution_count = n_run
    for output in kept:
        if output.output_type == "stream":
            output.text = _ADDRESS.sub(_NO_ADDRESS, output.text)
    return kept


def _is_still(data: dict[str, str]) -> bool:
    """No line of progress, which a fast machine would not show, and no widget without a picture."""
    return "image/png" in data or not (_WIDGET in data or _PROGRESS.fullmatch(data.get("text/plain", "")))


def _still(kind: str, value: str) -> str:
    """Fit to be kept in a repository."""
    if kind == "image/png":
        return _smaller(value)
    if kind == "text/plain":
        value = value.split("(children=", maxsplit=1)[0]  # a widget's word for itself lists all that is in it
    else:
        value = _PICTURE.sub(lambda match: match[1] + _smaller(match[2]), value)
    return _ADDRESS.sub(_NO_ADDRESS, value)


def _smaller(picture: str) -> str:
    """A PNG in base64, in 128 colours that keep the brightest: a third of the size."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        image.convert("RGB").quantize(128, method=Image.Quantize.FASTOCTREE).save(small, "png", optimize=True)
    return base64.b64encode(small.getvalue()).decode("ascii")


async def run(paths: list[Path]) -> None:
    """Execute and rewrite, in one kernel."""
    async with kernel() as manager:
        for path in paths:
            nbformat.write(await execute(read(path), manager), path)
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


def main() -> None:
    """Run those that are named, or all."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", help="without .ipynb; all when none is named")
    names = parser.parse_args().names
    wanted = [path for path in notebooks() if not names or path.stem in names]
    anyio.run(run, wanted)


if __name__ == "__main__":
    main()
