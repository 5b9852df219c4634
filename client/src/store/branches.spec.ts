import { describe, expect, it } from "vitest";
import type { BranchPoint } from "../protocol/generated";
import { first_difference, tree_rows, type KnownRun } from "./branches";
import { create_store } from "./store";
import type { RunView, TokenChip } from "./types";

const chips = (ids: number[]): TokenChip[] =>
  ids.map((token_id, pos) => ({ pos, token_id, text: `t${token_id}`, generated: true, logprob: null, entropy: null }));

const off = (run_id: string, from_pos: number): BranchPoint => ({ run_id, from_pos, n_shared: from_pos - 1, token_id: null });

function run(run_id: string, branch: BranchPoint | null = null): RunView {
  return {
    run_id, branch, prompt: "", apply_chat_template: false, n_prompt_tokens: 1, text: "", state: "running",
    finish_reason: null, revision: 0, intervention_log: [], notice: null, twin: "off", twin_from_pos: null, twin_author: null,
    sampling: { temperature: 0, top_k: 0, top_p: 1, seed: 0, max_new_tokens: 8, stop_at_eos: true },
  };
}

const shape = (rows: { run: KnownRun; depth: number }[]): string[] =>
  rows.map(({ run: { run_id }, depth }) => `${"-".repeat(depth)}${run_id}`);

describe("runs that were watched", () => {
  it("stand as a tree, each after the one it branched off", () => {
    const store = create_store();
    store.run.value = run("a");
    store.tokens.value = chips([1, 2, 3]);
    store.run.value = run("b", off("a", 2));
    store.run.value = run("c", off("b", 3));
    store.run.value = run("d", off("a", 1));
    store.run.value = run("e", off("gone", 1));
    store.run.value = { ...run("a"), state: "finished" };
    expect(shape(tree_rows(store.known_runs.value))).toEqual(["a", "-b", "--c", "-d", "e"]);
    expect(store.known_runs.value.get("a")?.state).toBe("finished");
    expect(store.known_runs.value.get("a")?.number).toBe(1);
  });

  it("part at the first token that differs", () => {
    expect(first_difference(chips([1, 2, 3]), chips([1, 2, 4, 5]))).toBe(2);
    expect(first_difference(chips([1, 2]), chips([1, 2, 4]))).toBeNull();
    expect(first_difference(chips([]), chips([1]))).toBeNull();
    expect(first_difference(chips([9]), chips([1]))).toBe(0);
  });
});
