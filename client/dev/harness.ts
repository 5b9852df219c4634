// Feeds the scene synthetic steps; not part of the build. `?shape=shipped|large|tiny&tokens=14&theme=dark`.
import { create_scene, type SceneHandle } from "../src/scene/index";
import { create_store, type Store } from "../src/store/store";
import type { Theme } from "../src/store/types";
import { make_chip, make_codes, make_step, model_info } from "./synthetic";

const SHAPES: Record<string, readonly [number, number, number]> = {
  shipped: [30, 9, 1536],
  large: [80, 64, 28672],
  tiny: [2, 4, 256],
  gpt2: [12, 12, 3072],
};

interface Harness {
  store: Store;
  scene: SceneHandle;
  push(n?: number): void;
  events: unknown[][];
  turn(frames: number): Promise<{ fps: number; frame_ms: number }>;
  errors: string[];
}

const query = new URLSearchParams(location.search);
const info = model_info(...SHAPES[query.get("shape") ?? "shipped"]!);
const store = create_store();
store.theme.value = (query.get("theme") ?? "dark") as Theme;
store.model_info.value = info;
const events: unknown[][] = [];
const errors: string[] = [];
const scene = create_scene(document.getElementById("scene")!, store, {
  on_error: (message) => errors.push(message),
  on_select: (component) => {
    store.selection.value = component;
    events.push(["select", component]);
  },
  on_hover: (component) => {
    store.hovered.value = component;
  },
  on_select_pos: (pos) => {
    store.current_pos.value = pos;
    events.push(["pos", pos]);
  },
  on_toggle: (component) => events.push(["toggle", component]),
});

// A huge model's codes are made once and shared: what is timed is the page, not the making.
const ready_codes = info.d_mlp * info.n_layers > 500_000 ? [0, 1, 2].map((seed) => make_codes(info, seed)) : null;
let next_pos = 0;
function push(n = 1): void {
  for (let i = 0; i < n; i++) {
    const pos = next_pos++;
    const chip = make_chip(pos);
    const codes = ready_codes?.[pos % ready_codes.length];
    store.tokens.value = [...store.tokens.value, chip];
    store.history.put(make_step(info, pos, chip.text, 1, codes ? codes.slice() : undefined));
    store.current_pos.value = pos;
  }
}

/** Turn the camera for a number of frames and say how fast they came. */
async function turn(frames: number): Promise<{ fps: number; frame_ms: number }> {
  const from = performance.now();
  for (let i = 0; i < frames; i++) {
    scene.orbit(0.012 * (i < frames / 2 ? 1 : -1), 0);
    await new Promise((resolve) => requestAnimationFrame(resolve));
  }
  const elapsed = performance.now() - from;
  return { fps: (1000 * frames) / elapsed, frame_ms: elapsed / frames };
}

push(Number(query.get("tokens") ?? 14));
const harness: Harness = { store, scene, push, events, turn, errors };
Object.assign(window, { harness });
