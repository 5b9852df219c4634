// @vitest-environment jsdom
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FakeSource } from "../../connection/fake_source";
import { snapshot, step } from "../../connection/fake_source";
import type { InterventionSpec, RunSnapshot } from "../../protocol/generated";
import type { Store } from "../../store/store";
import { close_page, open_page, text_of } from "../page_harness";

let store: Store;
let source: FakeSource;
let settle: () => Promise<void>;

const SAMPLED = { temperature: 1, top_k: 0, top_p: 1, seed: 7, max_new_tokens: 4, stop_at_eos: true };
const NO_HEAD: InterventionSpec = {
  intervention_id: "h", operation: "zero", components: [{ kind: "head", layer: 0, index: 1 }], amount: 0, enabled: true,
};

beforeEach(async () => {
  ({ store, source, settle } = await open_page({ prepare: (state) => void (state.tab.value = "branches") }));
  await act(() => document.getElementById("run")!.click());
  await begin({ run_id: "run-1", sampling: SAMPLED }, source.last("start_run").request_id);
});
afterEach(close_page);

async function begin(changes: Partial<RunSnapshot>, request_id: number): Promise<void> {
  source.say({ type: "run_started", request_id, run: snapshot(changes) });
  for (let pos = 0; pos < 5; pos++) source.say({ ...step(pos), run_id: changes.run_id! });
  source.say({ type: "run_state_changed", run_id: changes.run_id!, state: "finished", author: null, request_id: null });
  source.say({
    type: "run_finished", run_id: changes.run_id!, reason: "max_new_tokens", message: "", n_generated: 4, text: "t",
  });
  await settle();
}

const button = (name: string): HTMLButtonElement =>
  [...document.querySelectorAll<HTMLButtonElement>(".branches button")].find((found) => found.textContent === name)!;

async function type(label: string, value: string): Promise<void> {
  const field = document.querySelector<HTMLInputElement>(`[aria-label="${label}"]`)!;
  await act(() => {
    field.value = value;
    field.dispatchEvent(new Event("input", { bubbles: true }));
  });
}

describe("a branch", () => {
  it("begins at the shown token, with what is written, and leaves the rest as it was", async () => {
    await act(() => void (store.current_pos.value = 3));
    await type("Token to put in", " Tom");
    await act(() => button("Branch off here").click());
    expect(source.last("fork_run")).toMatchObject({
      run_id: "run-1", from_pos: 3, token_text: " Tom", sampling: null, interventions: null, start_paused: false,
    });
  });

  it("takes another seed, and the set as it stands where it was changed after the end", async () => {
    store.interventions.value = [NO_HEAD];
    await type("Seed of the branch", "8");
    await act(() => button("Branch off here").click());
    expect(source.last("fork_run")).toMatchObject({ sampling: { ...SAMPLED, seed: 8 }, interventions: [NO_HEAD] });
  });

  it("is refused with a sentence where the seed is none", async () => {
    await type("Seed of the branch", "-1");
    await act(() => button("Branch off here").click());
    expect(source.sent.some((command) => command.type === "fork_run")).toBe(false);
    expect(text_of(".branch-form [role=alert]")).toContain("Seed must be a whole number");
    expect(text_of(".toasts")).toBe("");
    await type("Seed of the branch", "7");
    await act(() => button("Branch off here").click());
    expect(document.querySelector(".branch-form [role=alert]")).toBeNull();
  });

  it("goes on after the end with as many tokens more", async () => {
    await act(() => button("Go on after the end").click());
    const n_tokens = store.tokens.value.length;
    expect(source.last("fork_run")).toMatchObject({
      from_pos: n_tokens, sampling: { ...SAMPLED, max_new_tokens: n_tokens - 2 + SAMPLED.max_new_tokens },
    });
  });

  it("stands in the tree, is walked to, and is compared", async () => {
    await act(() => button("Branch off here").click());
    const branch = { run_id: "run-1", from_pos: 3, n_shared: 2, token_id: null };
    const { request_id } = source.last("fork_run");
    await begin({ run_id: "run-2", sampling: { ...SAMPLED, seed: 8 }, branch }, request_id);
    const rows = [...document.querySelectorAll(".branch-tree li")].map((row) => row.textContent);
    expect(rows[0]).toContain("seed 7");
    expect(rows[1]).toContain("from token 3, seed 8");
    expect(document.querySelector(".branch-tree li[aria-current]")?.textContent).toContain("Run 2");
    const panel = document.querySelector(".branches")!;
    panel.scrollTop = 40;
    await act(() => button("Compare").click());
    expect(panel.scrollTop).toBe(0);
    expect(text_of(".branch-compared")).toContain("Run 2 and run 1 have the same 6 tokens");
    await act(() => button("Run 1").click());
    expect(source.last("join_run")).toMatchObject({ run_id: "run-1", last_seq: -1 });
  });
});
