// @vitest-environment jsdom
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FakeSource } from "../connection/fake_source";
import { snapshot, step } from "../connection/fake_source";
import type { Store } from "../store/store";
import type { PageState } from "./page";
import { close_page, open_page, text_of } from "./page_harness";

let store: Store;
let state: PageState;
let source: FakeSource;
let settle: () => Promise<void>;

beforeEach(async () => ({ store, state, source, settle } = await open_page()));
afterEach(close_page);

async function begin(prompt_text = "a"): Promise<void> {
  const run = document.getElementById("run")!;
  await act(() => run.click());
  const { request_id } = source.last("start_run");
  const tokens = [{ token_id: 1, text: prompt_text, logprob: null }, { token_id: 2, text: " b", logprob: null }];
  source.say({ type: "run_started", request_id, run: snapshot({ tokens }) });
  for (let pos = 0; pos < 4; pos++) source.say(step(pos));
  await settle();
}

function press(key: string, target: EventTarget = document.body): Promise<void> {
  return act(() => void target.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })));
}

const chips = (): HTMLElement[] => [...document.querySelectorAll<HTMLElement>(".chip")];

describe("the page without a picture", () => {
  it("says so, and everything else works", async () => {
    expect(text_of(".no-scene")).toContain("no WebGL2");
    await begin();
    expect(chips().map((chip) => chip.textContent)).toEqual(["a", "t1", "t2", "t3", "t4"]);
    expect(document.querySelectorAll("[role=grid] [role=row]").length).toBeGreaterThan(1);
  });

  it("shows hostile tokens as text", async () => {
    await begin('<img src=x onerror="alert(1)">');
    expect(document.querySelector("img")).toBeNull();
    expect(chips()[0]?.textContent).toBe('<img src=x onerror="alert(1)">');
  });

  it("marks the newest token, which has no activations yet", async () => {
    await begin();
    expect(chips().map((chip) => chip.classList.contains("pending"))).toEqual([false, false, false, false, true]);
    expect(chips()[4]?.getAttribute("aria-label")).toContain("no activations yet");
  });
});

describe("keys", () => {
  it("walk through the tokens, and a typed letter is not a key", async () => {
    await begin();
    await press("ArrowLeft");
    expect(store.current_pos.value).toBe(2);
    expect(store.follow.value).toBe(false);
    await press("End");
    expect(store.current_pos.value).toBe(3);
    store.selection.value = { kind: "head", layer: 0, index: 1 };
    await press("a", document.getElementById("prompt")!);
    expect(store.interventions.value).toEqual([]);
    state.letter_keys.value = false;
    await press("a");
    expect(store.interventions.value).toEqual([]);
    state.letter_keys.value = true;
  });

  it("alone ablate a head, chosen in the table", async () => {
    await begin();
    state.search.value = "L1H1";
    await settle();
    const grid = document.getElementById("component-grid")!;
    await press("ArrowDown", grid);
    expect(store.selection.value).toEqual({ kind: "head", layer: 1, index: 1 });
    await press("a", grid);
    const sent = source.last("set_interventions");
    expect(sent.mode).toBe("from_now");
    expect(sent.interventions.map((spec) => spec.intervention_id)).toEqual(["L1H1"]);
    await settle();
    expect(document.querySelector("#ablate")?.getAttribute("aria-checked")).toBe("true");
  });

  it("Space does not throw away a run that has ended", async () => {
    await begin();
    source.say({ type: "run_finished", run_id: "run-1", reason: "eos", message: "", n_generated: 3, text: "x" });
    await settle();
    const n_starts = source.sent.filter((command) => command.type === "start_run").length;
    await press(" ");
    expect(source.sent.filter((command) => command.type === "start_run")).toHaveLength(n_starts);
  });
});

describe("interventions", () => {
  it("are undone as a whole set", async () => {
    await begin();
    store.selection.value = { kind: "attn", layer: 0, index: 0 };
    await press("a");
    await press("u");
    expect(source.last("set_interventions").interventions).toEqual([]);
  });

  it("say from which position they hold", async () => {
    await begin();
    store.selection.value = { kind: "head", layer: 0, index: 1 };
    await press("a");
    const { request_id, interventions } = source.last("set_interventions");
    const applied = { revision: 1, from_pos: 4, mode: "from_now" as const, interventions, author: "me" };
    source.say({ type: "interventions_applied", run_id: "run-1", applied, request_id });
    await settle();
    expect(text_of(".intervention .where")).toBe("from position 4 (“ t4”) · you · rev 1");
  });

  it("are told to a screen reader when the server took them, and not when it did not", async () => {
    await begin();
    store.selection.value = { kind: "head", layer: 0, index: 1 };
    await press("a");
    await settle();
    expect(state.announcement.value).toBe("");
    const refused = source.last("set_interventions");
    source.say({ type: "error_report", code: "bad_command", message: "no", request_id: refused.request_id, run_id: "run-1" });
    await settle();
    expect(state.announcement.value).toBe("");
    await press("a");
    const { request_id, interventions } = source.last("set_interventions");
    const applied = { revision: 1, from_pos: 4, mode: "from_now" as const, interventions, author: "me" };
    source.say({ type: "interventions_applied", run_id: "run-1", applied, request_id });
    await settle();
    expect(state.announcement.value).toBe("L0H1 ablated");
  });

  it("more than the server takes are refused before they are sent", async () => {
    await begin();
    for (let index = 0; index < 3; index++) store.interventions.value = [...store.interventions.value, {
      intervention_id: `i${index}`, operation: "zero", components: [{ kind: "neuron", layer: 0, index }], amount: 0, enabled: true,
    }];
    store.interventions.value = [...store.interventions.value, { ...store.interventions.value[0]!, intervention_id: "i3" }];
    store.selection.value = { kind: "head", layer: 0, index: 0 };
    await press("a");
    expect(source.sent.some((command) => command.type === "set_interventions")).toBe(false);
    expect(text_of(".toast")).toContain("4 interventions");
  });
});
