// The stream's paths keep to the layers that are looked at.
import { beforeEach, expect, it } from "vitest";
import { build_blocks } from "../layout/blocks";
import type { ModelInfo } from "../protocol/generated";
import type { StreamPcaAnswer } from "../protocol/questions";
import { create_store, type Store } from "../store/store";
import type { RunView } from "../store/types";
import { StreamPathOverlay } from "./stream_path";
import { SCENE_THEMES } from "./theme";

const INFO = { n_layers: 4, n_heads: 2, d_mlp: 12, d_model: 4, d_head: 2 } as ModelInfo;
let store: Store;
let overlay: StreamPathOverlay;

beforeEach(() => {
  store = create_store();
  store.model_info.value = INFO;
  store.run.value = { run_id: "run-1", revision: 0 } as RunView;
  store.tokens.value = [{ pos: 0, token_id: 1, text: "a", generated: false, logprob: null, entropy: null }];
  store.current_pos.value = 0;
  store.stream.is_shown.value = true;
  store.stream.asked.value = { run_id: "run-1", revision: 0 };
  const answer = {
    coordinates: { shape: [1, 5, 3], values: Float32Array.from({ length: 15 }, (_, i) => i) }, skip_first: 0,
    explained: { shape: [3], values: new Float32Array([0.5, 0.3, 0.1]) },
  } as unknown as StreamPcaAnswer;
  store.stream.inquiry.slot.value = { ...store.stream.inquiry.slot.value, answer };
  overlay = new StreamPathOverlay(store);
  overlay.set_theme(SCENE_THEMES.dark, "dark");
});

const named = (): string[] => overlay.labels.filter(({ kind }) => kind === "layer").map(({ text }) => text);
const n_drawn = (): number => overlay["segments"]["geometry"].instanceCount;

it("names, dots and the word at the end are those of the shown layers", () => {
  const blocks = build_blocks(INFO);
  overlay.update(blocks);
  expect(named()).toEqual(["embed", "L0", "L1", "L2"]);
  const [all, end] = [n_drawn(), overlay.labels.find(({ kind }) => kind === "token_now")];
  expect(end?.point).toEqual(overlay.place_of({ pos: 0, point: 4 }));
  store.layer_range.value = { first_layer: 1, last_layer: 2 };
  overlay.update(blocks);
  expect(named()).toEqual(["L0", "L1"]);
  expect(overlay.labels.find(({ kind }) => kind === "token_now")?.point).toEqual(overlay.place_of({ pos: 0, point: 3 }));
  expect(n_drawn()).toBe(all - 2); // the faint lines stay, the dots before and behind do not
});
