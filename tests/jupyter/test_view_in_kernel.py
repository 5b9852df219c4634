"""A view in a real kernel without a frontend: interrupted, awaited, called back, and showing what it can."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from queue import Empty

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

SECS = 60
SETUP = """
import livelens, threading, asyncio
view = livelens.view("fake:3x2x24@40")
main = threading.get_ident()
"""


class Kernel:
    """One kernel and what its cells put out."""

    def __init__(self, manager: KernelManager) -> None:
        self.manager = manager
        self.client: BlockingKernelClient = manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=SECS)

    def run(self, code: str, *, meanwhile: Callable[[str], None] = lambda said: None) -> list[dict[str, object]]:
        """The contents of a cell's messages, until it has ended; `meanwhile` is told each text that it writes."""
        cell = self.client.execute(code)
        contents: list[dict[str, object]] = []
        while True:
            message = self.client.get_iopub_msg(timeout=SECS)
            if message["parent_header"].get("msg_id") != cell:
                continue
            kind, content = message["msg_type"], message["content"]
            contents.append({"kind": kind, **content})
            if kind == "stream":
                meanwhile(content["text"])
            if kind == "status" and content["execution_state"] == "idle":
                return contents

    def said(self, code: str) -> str:
        """What a cell wrote; fails on an error."""
        contents = self.run(code)
        errors = [content for content in contents if content["kind"] == "error"]
        assert not errors, errors
        return "".join(str(content["text"]) for content in contents if content["kind"] == "stream").strip()


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kernel]:
    folder = tmp_path_factory.mktemp("kernel")
    manager = KernelManager(connection_file=str(folder / "kernel.json"))
    manager.start_kernel(cwd=str(folder))
    started = Kernel(manager)
    try:
        started.said(SETUP)
        yield started
    finally:
        started.client.stop_channels()
        manager.shutdown_kernel(now=True)


def test_an_interrupted_kernel_has_a_paused_run_and_a_view_that_works(kernel: Kernel) -> None:
    kernel.said('generation = view.generate("When Mary and John went to the store", max_new_tokens=2000)')
    interrupts: list[str] = []

    def interrupt(said: str) -> None:
        if not interrupts:
            interrupts.append(said)
            kernel.manager.interrupt_kernel()

    code = 'end = view.on_step(lambda step: print("step") if step.pos > 12 else None)\ngeneration.finish()'
    contents = kernel.run(code, meanwhile=interrupt)
    assert [content["ename"] for content in contents if content["kind"] == "error"] == ["KeyboardInterrupt"]
    paused = kernel.said(
        "end()\nview.background().run(generation.run.until(lambda run: run.state == 'paused'))\n"
        "n = len(generation.run.tokens)\nstep = next(iter(generation))\nview.ablate('L0H0')\n"
        "print(generation.run.state, n < 500, step.pos, view.ablated)"
    )
    assert paused == "paused True 0 ['L0H0']"
    assert kernel.said("view.restore()\nprint(view.generate('Once', max_new_tokens=3).finish().is_finished)") == "True"


def test_awaited_the_kernel_does_other_work_and_callbacks_run_on_its_thread(kernel: Kernel) -> None:
    said = kernel.said("""
beats, threads = 0, set()
async def beat():
    global beats
    while True:
        beats += 1
        await asyncio.sleep(0.001)
beating = asyncio.ensure_future(beat())
end = view.on_step(lambda step: threads.add(threading.get_ident()))
generation = await view.generate.aio("When Mary and John went", max_new_tokens=12)
n = 0
async for step in generation:
    n += 1
beating.cancel(); end()
print(n == len(generation.run.tokens) - 1, beats > n, threads == {main})
""")
    assert said == "True True True"


def test_an_interrupted_await_pauses_the_run(kernel: Kernel) -> None:
    kernel.said('generation = await view.generate.aio("When Mary and John went", max_new_tokens=2000)')
    interrupts: list[str] = []

    def interrupt(said: str) -> None:
        if not interrupts:
            interrupts.append(said)
            kernel.manager.interrupt_kernel()

    contents = kernel.run("async for step in generation:\n    print(step.pos)", meanwhile=interrupt)
    assert [content["ename"] for content in contents if content["kind"] == "error"] in (
        ["KeyboardInterrupt"],
        ["CancelledError"],
    )
    assert kernel.said("print(len(generation.run.tokens) < 500, view.generate('Once').stop())") == "True None"


def test_what_a_callback_raises_between_cells_is_told(kernel: Kernel) -> None:
    """No cell waits for it, so it is the event loop's handler that says so."""
    said = kernel.said("""
told = []
loop = asyncio.get_running_loop()
loop.set_exception_handler(lambda _, context: told.append(str(context["exception"])))
def fails(selection):
    raise RuntimeError("the widget is gone")
end = view.on_selection(fails)
await view.select.aio("L1H1")
while not told:
    await asyncio.sleep(0.001)
loop.set_exception_handler(None); end()
print(told)
""")
    assert said == "['the widget is gone']"


@pytest.mark.parametrize(
    "finish", ["view.generate({}).finish()", "generation = await view.generate.aio({})\nawait generation.finish.aio()"]
)
def test_progress_is_one_output_of_its_cell_that_is_written_over(kernel: Kernel, finish: str) -> None:
    contents = kernel.run(finish.format('"When Mary and John went to the store", max_new_tokens=80'))
    shown = [content for content in contents if content["kind"] == "display_data"]
    updated = [content for content in contents if content["kind"] == "update_display_data"]
    assert len(shown) == 1 and len(updated) >= 2
    ids = {json.dumps(content["transient"]) for content in (*shown, *updated)}
    assert len(ids) == 1 and "display_id" in min(ids)
    assert "80 of 80" in str(updated[-1]["data"])


def test_what_a_callback_writes_is_in_the_cell_that_awaits(kernel: Kernel) -> None:
    said = kernel.said("""
seen = []
end = view.on_step(lambda step: (seen.append(step.pos), print(step.pos)))
generation = await view.generate.aio("When Mary and John went", max_new_tokens=5)
await generation.finish.aio()
while len(seen) < len(generation.run.steps):
    await asyncio.sleep(0.001)
end()
""")
    assert sorted(int(line) for line in said.split()) == list(range(len(said.split()))) != []


def test_where_there_is_no_frontend_show_says_so_with_a_still_picture(kernel: Kernel) -> None:
    (shown,) = [content for content in kernel.run("view.show()") if content["kind"] == "display_data"]
    data = shown["data"]
    assert isinstance(data, dict)
    assert "Nothing interactive can be shown here" in data["text/html"] and "http://127.0.0.1:" in data["text/plain"]
    assert "<iframe" not in data["text/html"]
    picture = base64.b64decode(data["text/html"].split("base64,")[1].split('"')[0])
    assert picture.startswith(b"\x89PNG") and len(picture) > 2000
    assert kernel.said("print(livelens.serve('fake:2x2x8').jupyter_address)") == "None"


def test_vs_code_gets_a_frame_on_loopback(kernel: Kernel) -> None:
    """What to do where that machine is another one, and the picture for that case."""
    code = "import os\nos.environ['VSCODE_PID'] = '1'\nview.show(height=300)\ndel os.environ['VSCODE_PID']"
    (shown,) = [content for content in kernel.run(code) if content["kind"] == "display_data"]
    html = str(shown["data"])
    assert '<iframe src="http://127.0.0.1:' in html and "/frame/" in html and 'height="300"' in html
    port = html.split("http://127.0.0.1:")[1].split("/", maxsplit=1)[0]
    assert "If the frame stays empty" in html and f"forward port {port} " in html and "#share=" in html
    assert base64.b64decode(html.split("base64,")[1].split('"', maxsplit=1)[0]).startswith(b"\x89PNG")


def test_a_closed_view_says_so(kernel: Kernel) -> None:
    for code in ("view.generate('x')", "view.show()", "await view.lens.aio(pos=1)", "next(iter(generation))"):
        contents = kernel.run(f"view.close()\n{code}")
        (error,) = [content for content in contents if content["kind"] == "error"]
        assert error["ename"] == "LivelensError" and "this view is closed" in str(error["evalue"]), code
    with pytest.raises(Empty):
        kernel.client.get_iopub_msg(timeout=0.2)
