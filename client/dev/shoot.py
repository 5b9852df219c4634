"""Screenshots and timings of the scene harness in headless Chromium: `python client/dev/shoot.py OUT [case ...]`.

Needs `npx vite --config dev/vite.config.ts` running in client/ (BASE_URL overrides the address).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

BASE_URL = os.environ.get("BASE_URL", "http://127.0.0.1:5199/dev/index.html")
FLAGS = (
    "--no-sandbox --disable-quic --no-first-run --disable-background-networking --disable-component-update "
    "--disable-sync --use-gl=angle --use-angle=swiftshader --enable-unsafe-swiftshader"
).split()

# name: (query, (width, height), javascript run before the picture)
CASES: dict[str, tuple[str, tuple[int, int], str]] = {
    "three_quarter": ("", (1600, 900), ""),
    "small": ("", (1280, 720), ""),
    "light": ("theme=light", (1600, 900), ""),
    "front": ("", (1600, 900), "h.scene.set_view('front', false)"),
    "time": ("tokens=30", (1600, 900), "h.scene.set_view('time', false)"),
    "head": ("", (1600, 900), "h.store.selection.value = {kind: 'head', layer: 23, index: 3}"),
    "head_light": ("theme=light", (1600, 900), "h.store.selection.value = {kind: 'head', layer: 23, index: 3}"),
    "direct": ("", (1600, 900), "h.store.display_channel.value = 'direct_logit'"),
    "direct_light": ("theme=light", (1600, 900), "h.store.display_channel.value = 'direct_logit'"),
    "zoom": ("", (1600, 900), "h.store.selection.value={kind:'neuron',layer:12,index:700};h.scene.focus({kind:'neuron',layer:12,index:700})"),
    "zoom_light": ("theme=light", (1600, 900), "h.scene.focus({kind:'neuron',layer:12,index:700})"),
    "zoom_heads": ("", (1600, 900), "h.store.hovered.value={kind:'head',layer:14,index:4};h.scene.focus({kind:'head',layer:14,index:4})"),
    "ablated": (
        "",
        (1600, 900),
        "h.store.interventions.value=[{intervention_id:'a',operation:'zero',amount:0,enabled:true,components:["
        "{kind:'head',layer:10,index:4},{kind:'attn',layer:5,index:0},{kind:'mlp',layer:17,index:0},"
        "{kind:'neuron',layer:12,index:700},{kind:'neuron',layer:20,index:100},{kind:'head',layer:23,index:3}]}];"
        "h.store.hovered.value={kind:'head',layer:14,index:4}",
    ),
    "long": ("tokens=60", (1600, 900), "h.store.selection.value = {kind: 'head', layer: 23, index: 3}"),
    "large": ("shape=large&tokens=8", (1280, 720), ""),
    "large_front": ("shape=large&tokens=3", (1600, 900), "h.scene.set_view('front', false)"),
    "tiny": ("shape=tiny", (1280, 720), ""),
    "gpt2": ("shape=gpt2", (1280, 720), ""),
    "narrow": ("", (620, 900), ""),
}


def main() -> None:
    out = Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    wanted = sys.argv[2:] or list(CASES)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for name in wanted:
            query, (width, height), script = CASES[name]
            page = browser.new_page(viewport={"width": width, "height": height})
            page.on("console", lambda m: print("console:", m.text[:3000]) if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda e: print("pageerror:", e))
            page.goto(f"{BASE_URL}?{query}")
            page.wait_for_function("window.harness !== undefined", timeout=60_000)
            if script:
                page.evaluate(f"(() => {{ const h = window.harness; {script} }})()")
            frames, still = -1, 0
            for _ in range(100):  # no new frame in four looks: the picture stands
                page.wait_for_timeout(150)
                now = page.evaluate("window.harness.scene.stats().frames")
                still = still + 1 if now == frames else 0
                frames = now
                if still == 4:
                    break
            else:
                print(name, "NEVER RESTS: it redraws for ever")
            page.screenshot(path=str(out / f"{name}.png"))
            print(name, page.evaluate("window.harness.errors"), json.dumps(page.evaluate("window.harness.scene.stats()")))
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
