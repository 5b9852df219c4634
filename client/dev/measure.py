"""Times the scene harness: main-thread time per new step, frames a second while turning, lost contexts.

`python client/dev/measure.py [shipped|large ...]`; see shoot.py for what must be running.
"""

from __future__ import annotations

import json
import sys

from playwright.sync_api import Page, sync_playwright
from shoot import BASE_URL, FLAGS

STEPS = """async (n) => {
  const h = window.harness;
  for (let i = 0; i < n; i++) {
    h.push(1);
    await new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)));
  }
  return h.scene.stats();
}"""

LOSE = """async (n) => {
  const canvas = document.querySelector('#scene canvas');
  const extension = canvas.getContext('webgl2').getExtension('WEBGL_lose_context');
  const wait = (event) => new Promise((r) => canvas.addEventListener(event, () => setTimeout(r, 0), { once: true }));
  for (let i = 0; i < n; i++) {
    const lost = wait('webglcontextlost');
    extension.loseContext();
    await lost;
    const restored = wait('webglcontextrestored');
    extension.restoreContext();
    await restored;
    await new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)));
  }
  return h_stats();
  function h_stats() { return window.harness.scene.stats(); }
}"""


def settle(page: Page) -> None:
    frames, still = -1, 0
    for _ in range(100):
        page.wait_for_timeout(150)
        now = page.evaluate("window.harness.scene.stats().frames")
        still, frames = (still + 1 if now == frames else 0), now
        if still == 4:
            return
    print("NEVER RESTS: it redraws for ever")


def main() -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for shape in sys.argv[1:] or ["shipped", "large"]:
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.on("pageerror", lambda e: print("pageerror:", e))
            page.goto(f"{BASE_URL}?shape={shape}&tokens=24")
            page.wait_for_function("window.harness !== undefined", timeout=60_000)
            settle(page)
            print(shape, "steps", json.dumps(page.evaluate(STEPS, 60 if shape != "large" else 40)))
            settle(page)
            print(shape, "turning", json.dumps(page.evaluate("window.harness.turn(90)")))
            settle(page)
            before = page.screenshot()
            stats = page.evaluate(LOSE, 20 if shape != "large" else 5)
            settle(page)
            print(shape, "lost", json.dumps(stats), "same picture:", page.screenshot() == before)
            print(shape, "errors", page.evaluate("window.harness.errors"))
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
