import { describe, expect, it } from "vitest";
import { create_store, type Store } from "../store/store";
import type { StepRecord } from "../store/types";
import { HELLO } from "./fake_source";
import { Holes } from "./holes";

const heads = { shape: [1, 1], values: new Float32Array([1]) };
const lens_token_id = { shape: [1], values: new Int32Array([5]) };

function store_with(tensors: StepRecord["tensors"], channels: ("heads" | "logit_lens")[]): Store {
  const store = create_store();
  const { model_info } = HELLO;
  store.model_info.value = { ...model_info, capabilities: { ...model_info.capabilities, channels } };
  store.history.put({
    pos: 0, seq: 0, token_id: 0, text: "", chosen_id: null, chosen_text: null, generated: false, top_tokens: [],
    logprob: null, entropy: null, revision: 0, tensors, lens_texts: null, direct_target_id: null,
    direct_distractor_id: null, detail_dropped: false,
  });
  return store;
}

describe("the lens of a token that is looked at", () => {
  it("is asked for once where it is missing, and only for the token looked at", () => {
    const store = store_with({ heads }, ["heads", "logit_lens"]);
    const holes = new Holes();
    expect(holes.take(store)).toEqual([]);
    expect(holes.take_one(store, 0)).toEqual([0]);
    expect(holes.take_one(store, 0)).toEqual([]);
    holes.forget();
    expect(holes.take_one(store, 0)).toEqual([0]);
  });

  it("is not asked for where it is there, nor of a model without a lens", () => {
    expect(new Holes().take_one(store_with({ heads, lens_token_id }, ["heads", "logit_lens"]), 0)).toEqual([]);
    expect(new Holes().take_one(store_with({ heads }, ["heads"]), 0)).toEqual([]);
  });

  it("an empty position is asked for twice, not for ever", () => {
    const store = store_with({}, ["heads", "logit_lens"]);
    const holes = new Holes();
    expect([1, 2, 3].map(() => holes.take_one(store, 0))).toEqual([[0], [0], []]);
  });
});
