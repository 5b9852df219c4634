"""Does the canvas give back the component that was pointed at? Round trips over random components, all presets.

`python client/dev/check_picking.py`; see shoot.py for what must be running. Exits 1 on the first mismatch.
"""

from __future__ import annotations

import sys

from playwright.sync_api import sync_playwright
from shoot import BASE_URL, FLAGS

ROUND_TRIPS = """async (preset) => {
  const { scene, store } = window.harness;
  const info = store.model_info.value;
  scene.set_view(preset, false);
  await new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(r)));
  const sizes = { neuron: info.d_mlp, head: info.n_heads, attn: 1, mlp: 1 };
  const wrong = [];
  let seen = 0;
  for (let i = 0; i < 2000; i++) {
    const kind = Object.keys(sizes)[i % 4];
    const component = { kind, layer: (i * 7919) % info.n_layers, index: (i * 104729) % sizes[kind] };
    const at = scene.screen_position(component);
    if (!at || at.x < 0 || at.y < 0 || at.x > innerWidth || at.y > innerHeight) continue;
    seen++;
    const back = scene.pick(at.x, at.y);
    if (JSON.stringify(back) !== JSON.stringify(component)) wrong.push([component, back]);
  }
  return { seen, wrong: wrong.slice(0, 3), n_wrong: wrong.length };
}"""


def main() -> None:
    failed = False
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
        for shape in ("shipped", "large", "tiny"):
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(f"{BASE_URL}?shape={shape}&tokens=3")
            page.wait_for_function("window.harness !== undefined", timeout=60_000)
            for preset in ("three_quarter", "front", "time"):
                result = page.evaluate(ROUND_TRIPS, preset)
                print(shape, preset, result)
                failed |= result["n_wrong"] > 0 or result["seen"] == 0
            at = page.evaluate(
                "(() => { const h = window.harness; h.scene.set_view('front', false);"
                " return new Promise((r) => requestAnimationFrame(() => requestAnimationFrame(() =>"
                " r(h.scene.screen_position({ kind: 'head', layer: 1, index: 2 }))))); })()"
            )
            page.mouse.click(at["x"], at["y"])
            selected = page.evaluate("window.harness.store.selection.value")
            print(shape, "click", selected)
            if shape != "large":  # its heads are smaller than the pixels that a mouse points at
                failed |= selected != {"kind": "head", "layer": 1, "index": 2}
            page.close()
        browser.close()
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
