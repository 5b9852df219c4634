// @vitest-environment jsdom
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HELLO, snapshot, step, type FakeSource } from "../../connection/fake_source";
import type { InterventionSpec } from "../../protocol/generated";
import { toggled } from "../../store/interventions";
import type { Store } from "../../store/store";
import type { PageState } from "../page";
import { close_page, open_page, text_of } from "../page_harness";
import { $, click, labelled, press, write } from "../spec_hands";

const HEAD = { kind: "head" as const, layer: 1, index: 1 };
const STEERED: InterventionSpec = {
  intervention_id: "steer", operation: "add_direction", components: [], amount: 1, enabled: true, direction_id: "d1",
  stream: [{ layer: 0, hook: "resid_post" }],
};
const LOOKING: InterventionSpec = {
  intervention_id: "look", operation: "attention_set", components: [HEAD], amount: 0, enabled: true,
  attention: { keys: [1, 2], weights: [0.5, 0.25] },
};

let store: Store;
let state: PageState;
let source: FakeSource;
let settle: () => Promise<void>;

const newest = (): InterventionSpec[] => source.last("set_interventions").interventions;
const ids = (): string[] => newest().map((spec) => spec.intervention_id);
const n_sent = (): number => source.sent.filter((command) => command.type === "set_interventions").length;

beforeEach(async () => {
  const model_info = structuredClone(HELLO.model_info);
  model_info.capabilities.operations.push("mean", "add_direction", "attention_set");
  ({ store, state, source, settle } = await open_page({ hello: { ...HELLO, model_info } }));
  await act(() => document.getElementById("run")!.click());
  source.say({ type: "run_started", request_id: source.last("start_run").request_id, run: snapshot() });
  for (let pos = 0; pos < 4; pos++) source.say(step(pos));
  await settle();
});
afterEach(close_page);

/** In force, as the server would say after somebody set them. */
async function listed(...specs: InterventionSpec[]): Promise<void> {
  const applied = { revision: 1, from_pos: 4, mode: "from_now" as const, interventions: specs, author: "me" };
  source.say({ type: "interventions_applied", run_id: "run-1", applied, request_id: null });
  state.interventions.opened.value = specs.at(-1)!.intervention_id;
  await settle();
}

async function refused(message: string): Promise<void> {
  const { request_id } = source.last("set_interventions");
  source.say({ type: "error_report", code: "bad_interventions", message, request_id, run_id: "run-1" });
  await settle();
}

describe("the place of an intervention in the list", () => {
  it("is changed by its buttons, sent, and undone", async () => {
    await listed(toggled([], HEAD)[0]!, STEERED);
    expect(text_of(".entry-order")).toMatch(/number 2 of 2/);
    await click('[aria-label="Let it act earlier"]');
    expect(ids()).toEqual(["steer", "L1H1"]);
    expect($<HTMLButtonElement>('[aria-label="Let it act earlier"]').disabled).toBe(true);
    await press("u");
    expect(ids()).toEqual(["L1H1", "steer"]);
  });
});

describe("a mean over the prompt, position by position", () => {
  const mean = (changes: Partial<InterventionSpec> = {}): InterventionSpec => ({
    intervention_id: "mean", operation: "mean", components: [HEAD], amount: 0, enabled: true,
    reference: { source: "prompt", pooled: false }, ...changes,
  });
  const said = (): string => text_of(".mean-of-nothing");

  it("that holds from behind the prompt is listed with the word that it changes nothing there", async () => {
    await listed(mean());
    expect(said()).toBe("changes nothing there: the prompt ends before");
    await listed(mean({ positions: { scope: "range", from_pos: 2, to_pos: null } }));
    expect(said()).toMatch(/changes nothing/);
  });

  it.each<[string, Partial<InterventionSpec>]>([
    ["one for all positions", { reference: { source: "prompt", pooled: true } }],
    ["over other texts", { reference: { source: "text", texts: ["a"], pooled: false } }],
    ["on the whole text", { positions: { scope: "all" } }],
    ["on the prompt's last token", { positions: { scope: "range", from_pos: 1, to_pos: 2 } }],
    ["switched off", { enabled: false }],
  ])("is listed without it: %s", async (_, changes) => {
    await listed(mean(changes));
    expect(text_of(".intervention .operation")).toContain("its mean over");
    expect(said()).toBe("");
  });
});

describe("the fields of a listed intervention", () => {
  it("say where in the stream a direction acts, before a layer as well", async () => {
    await listed(STEERED);
    await write(labelled("Place of the stream"), "resid_pre");
    await write(labelled("Last layer of the stream"), "7");
    expect(newest()[0]!.stream).toEqual([{ layer: 0, hook: "resid_pre" }, { layer: 1, hook: "resid_pre" }]);
    expect(text_of(".intervention .link")).toBe("stream before L0, stream before L1");
  });

  it("two changed before the page is drawn again are both sent", async () => {
    await listed(STEERED);
    const [unit, place] = [labelled<HTMLSelectElement>("Unit of the strength"), labelled<HTMLSelectElement>("Place of the stream")];
    [unit.value, place.value] = ["norm", "resid_pre"];
    await act(() => {
      for (const field of [unit, place]) field.dispatchEvent(new Event("change", { bubbles: true }));
    });
    expect(newest()[0]).toMatchObject({ unit: "norm", stream: [{ layer: 0, hook: "resid_pre" }] });
  });

  it("give a head's weights; one that is wrong is said beside them, stays, and is not sent", async () => {
    await listed(LOOKING);
    const before = n_sent();
    await write(labelled("Weight of position 1; empty: equal shares"), "-1");
    expect(text_of(".key-weights + button + .field-problem")).toMatch(/from 0 on/);
    expect(labelled<HTMLInputElement>("Weight of position 1; empty: equal shares").value).toBe("-1");
    expect(n_sent()).toBe(before);
    await write(labelled("Weight of position 1; empty: equal shares"), "0.6");
    expect(newest()[0]!.attention!.weights).toEqual([0.6, 0.25]);
    await write(labelled("Weight of position 2; empty: equal shares"), "");
    expect(newest()[0]!.attention!.weights).toEqual([0.6, 0]);
  });

  it("keep what the server refused, with its words", async () => {
    await listed(LOOKING);
    await write(labelled("At which tokens"), "range");
    await write(labelled("First position"), "99999");
    await refused("from_pos 99999 is outside every run: this model takes 64 tokens");
    expect(text_of(".spec-form > .field-problem")).toMatch(/outside every run/);
    expect(labelled<HTMLInputElement>("First position").value).toBe("99999");
    expect(store.interventions.value[0]!.positions?.from_pos).not.toBe(99999);
    await write(labelled("First position"), "2");
    expect(newest()[0]!.positions).toEqual({ scope: "range", from_pos: 2, to_pos: null });
    expect(text_of(".spec-form > .field-problem")).toBe("");
  });
});

describe("a change that is being thought of", () => {
  beforeEach(async () => {
    store.selection.value = HEAD;
    await settle();
    await click("#draft-toggle");
    await write($("#draft-operation"), "mean");
  });

  it("takes its texts from a file as well, and says what is wrong with one", async () => {
    await write(labelled("Reference"), "text");
    const input = labelled<HTMLInputElement>("Open a text file as the reference");
    const choose = async (name: string, ...parts: BlobPart[]): Promise<void> => {
      Object.defineProperty(input, "files", { value: [new File(parts, name)], configurable: true });
      await act(() => void input.dispatchEvent(new Event("change", { bubbles: true })));
      await settle();
    };
    await choose("empty.txt");
    expect(text_of(".draft-form [role=alert]")).toBe("empty.txt is empty.");
    await choose("rain.txt", "It rains.\nI wear boots.\n");
    await write(labelled("Reference texts, one a line"), "one line\nanother");
    expect(state.interventions.draft.value!.reference!.texts).toEqual(["It rains.\nI wear boots.", "one line", "another"]);
  });

  it("stays as it was written where the server refuses it", async () => {
    await act(() => $<HTMLFormElement>(".draft-form").requestSubmit());
    await refused("this model cannot do operation 'mean'");
    expect(text_of(".draft-form .field-problem")).toMatch(/cannot do operation/);
    expect(state.interventions.draft.value?.operation).toBe("mean");
    expect(store.interventions.value).toEqual([]);
  });
});
