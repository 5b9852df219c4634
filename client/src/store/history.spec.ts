import { describe, expect, it } from "vitest";
import { History } from "./history";
import type { StepRecord } from "./types";

function record(pos: number, changes: Partial<StepRecord> = {}): StepRecord {
  return {
    pos, seq: pos, token_id: pos, text: "", chosen_id: null, chosen_text: null, generated: false, top_tokens: [],
    logprob: null, entropy: null, revision: 0, tensors: {}, lens_texts: null, direct_target_id: null,
    direct_distractor_id: null, detail_dropped: false, ...changes,
  };
}
const heads = { shape: [1, 1], values: new Float32Array([1]) };
const residual = { shape: [2], values: new Float32Array([1, 2]) };

describe("history", () => {
  it("merges further tensors of a position under one revision", () => {
    const history = new History();
    history.put(record(3, { tensors: { heads }, lens_texts: ["a"] }));
    history.put(record(3, { tensors: { residual } }));
    expect(history.get(3)?.tensors).toEqual({ heads, residual });
    expect(history.get(3)?.lens_texts).toEqual(["a"]);
  });

  it("replaces a position computed under another revision", () => {
    const history = new History();
    history.put(record(3, { tensors: { heads } }));
    history.put(record(3, { revision: 1, tensors: { residual } }));
    expect(history.get(3)?.tensors).toEqual({ residual });
  });

  it("keeps its order whatever order steps come in", () => {
    const history = new History();
    for (const pos of [5, 0, 3]) history.put(record(pos));
    expect(history.positions()).toEqual([0, 3, 5]);
    expect(history.newest_pos).toBe(5);
  });

  it("forgets from a position on, and tells its listeners", () => {
    const history = new History();
    const told: number[] = [];
    const end = history.subscribe((pos) => told.push(pos));
    for (const pos of [0, 1, 2]) history.put(record(pos));
    history.drop_from(1);
    end();
    history.drop_from(0);
    expect(told).toEqual([0, 1, 2, -1]);
    expect(history.newest_pos).toBe(-1);
  });
});
