"""`view.show()` without Jupyter's extension: the view's own page in a frame of another site, as VS Code shows it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from playwright.sync_api import Browser
from tests.browser.page_driving import at_rest, canvas_point, run_to_end, token_ids, until, wait_state

import livelens
from livelens.library.showing import Place, frame_address, frame_html

PROMPT = "When Mary and John went to the store"


@contextlib.contextmanager
def site(html: str) -> Iterator[str]:
    """A page at `localhost`, which is another site than 127.0.0.1: no cookie of ours comes along there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(f"<!doctype html><title>notebook</title>{html}".encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_the_page_and_its_view_go_together_in_a_frame_of_another_site(browser: Browser) -> None:
    with livelens.view("fake:3x2x24") as view:
        run = view.generate(PROMPT, max_new_tokens=8).finish().run
        address = frame_address(view._own.frame_url, share_key=view.share_key, run_id=run.run_id)
        place = Place(kind="local", address=address)
        with site(frame_html(place, address, height=640)) as url:
            page = browser.new_page(viewport={"width": 1200, "height": 760}, reduced_motion="reduce")
            problems: list[str] = []
            page.on("console", lambda entry: problems.append(entry.text) if entry.type == "error" else None)
            page.goto(url)
            element = page.locator("iframe")
            frame = element.element_handle().content_frame()
            assert frame is not None
            wait_state(frame, "finished")
            assert token_ids(frame) == run.token_ids
            assert view.share_key not in frame.url and f"run={run.run_id}" in frame.url

            corner = element.bounding_box()
            assert corner is not None
            frame.wait_for_function("() => window.livelens.scene")
            at_rest(frame)
            x, y = canvas_point(frame, "head", 2, 1)
            page.mouse.click(corner["x"] + x, corner["y"] + y)
            until(page, lambda: view.selection.name == "L2H1")
            view.select("L0N5", pos=4)
            frame.wait_for_function(
                "() => { const { selection, current_pos } = window.livelens.store;"
                " return selection.value?.kind === 'neuron' && current_pos.value === 4; }"
            )

            run_to_end(frame, "Ada and the sea", length=5)
            until(page, lambda: view.generation is not None and view.generation.run.prompt == "Ada and the sea")
            assert not problems
            page.close()
