// @vitest-environment jsdom
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HELLO, step, type FakeSource } from "../../connection/fake_source";
import type { Hello, InterventionSpec } from "../../protocol/generated";
import { toggled } from "../../store/interventions";
import type { OverviewAnswer } from "../../protocol/questions";
import type { Store } from "../../store/store";
import type { HostTensor } from "../../store/types";
import type { PageState } from "../page";
import { begin_run, close_page, open_page, text_of } from "../page_harness";
import { $, click, labelled, press, write } from "../spec_hands";
import { kept_directions } from "./kept_directions";
import { model_of, set_text } from "./set_file";

const OPERATIONS: InterventionSpec["operation"][] = [
  "zero", "scale", "mean", "resample", "set", "add_direction", "project_out", "attention_knockout", "attention_set",
  "attention_turn",
];
const HELLO_ALL: Hello = {
  ...HELLO,
  model_info: {
    ...HELLO.model_info,
    capabilities: { ...HELLO.model_info.capabilities, operations: OPERATIONS, analyses: ["direction"] },
  },
};
const HEAD = { kind: "head" as const, layer: 1, index: 1 };
const NEURON = { kind: "neuron" as const, layer: 0, index: 2 };

let store: Store;
let state: PageState;
let source: FakeSource;
let settle: () => Promise<void>;

beforeEach(async () => {
  localStorage.clear();
  ({ store, state, source, settle } = await open_page({ hello: HELLO_ALL }));
});
afterEach(close_page);

async function begin(): Promise<void> {
  const attention = { shape: [2, 2, 4], values: new Uint8Array(16).map((_, i) => (i >= 12 ? 255 : i)) };
  await begin_run({ source, settle }, [0, 1, 2, 3].map((pos) => step(pos, { tensors: { attention } })));
}

/** The server puts the last set that was sent in force. */
async function applied(from_pos = 4): Promise<InterventionSpec[]> {
  const { request_id, interventions } = source.last("set_interventions");
  const revision = (store.run.value?.revision ?? 0) + 1;
  source.say({
    type: "interventions_applied", run_id: "run-1", request_id,
    applied: { revision, from_pos, mode: "from_now", interventions, author: "me" },
  });
  await settle();
  return interventions;
}

const n_sent = (): number => source.sent.filter((command) => command.type === "set_interventions").length;

describe("another change than a switch", () => {
  beforeEach(begin);

  it("is made complete first, then sent as one intervention and listed in words", async () => {
    store.selection.value = NEURON;
    await settle();
    await click("#draft-toggle");
    await write($("#draft-operation"), "resample");
    expect($<HTMLButtonElement>("#draft-apply").disabled).toBe(true);
    expect(text_of(".draft-form [role=status]")).toBe("Write the other text.");
    await write(labelled("Reference text"), "Another text");
    await write(labelled("Position to take; empty: the same one"), "3");
    await click("#draft-apply");
    const [spec] = await applied();
    expect(spec).toMatchObject({
      intervention_id: "L0N2", operation: "resample", components: [NEURON], reference: { source: "text", texts: ["Another text"], pos: 3 },
    });
    expect(text_of(".intervention .operation")).toBe("as in “Another text”, at its position 3");
    expect(text_of(".intervention .where")).toBe("from position 4 (“ t4”) · you · rev 1");
  });

  it("a head is not put to one number, and the page says why", async () => {
    store.selection.value = HEAD;
    await settle();
    await click("#draft-toggle");
    const option = [...$<HTMLSelectElement>("#draft-operation").options].find(({ value }) => value === "set")!;
    expect(option.disabled).toBe(true);
    expect(option.title).toMatch(/many numbers/);
  });

  it("is for all picked components where one says so", async () => {
    for (const component of [HEAD, { ...HEAD, index: 0 }]) {
      store.selection.value = component;
      await act(() => void document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "g", bubbles: true })));
    }
    await settle();
    await click("#draft-toggle");
    const label = [...document.querySelectorAll(".draft-form .check")].find((one) => one.textContent?.includes("2 picked"));
    await act(() => label!.querySelector("input")!.click());
    await click("#draft-apply");
    expect(source.last("set_interventions").interventions[0]?.components).toHaveLength(2);
  });

  it("at tokens that were read already is computed again, with a word about it", async () => {
    store.selection.value = NEURON;
    await settle();
    await click("#draft-toggle");
    await write(labelled("At which tokens"), "range");
    await write(labelled("First position"), "1");
    await write(labelled("Last position; empty: without an end"), "2");
    await click("#draft-apply");
    expect(source.last("set_interventions")).toMatchObject({
      mode: "recompute", restart: false, interventions: [{ positions: { scope: "range", from_pos: 1, to_pos: 3 } }],
    });
    await settle();
    expect(text_of(".toast")).toBe("");
    await applied(0);
    expect(text_of(".toast")).toMatch(/read already/);
  });
});

describe("a slider", () => {
  it("is sent ten times a second at most while it moves, and is one step of undo", async () => {
    await begin();
    store.selection.value = NEURON;
    await settle();
    const slider = labelled<HTMLInputElement>("Scale by, slider");
    const before = n_sent();
    for (let i = 1; i <= 20; i++) await write(slider, String(1 + i / 10), "input");
    expect(n_sent() - before).toBe(1);
    await settle();
    expect(n_sent() - before).toBe(2);
    expect(source.last("set_interventions").interventions[0]?.amount).toBe(3);
    await write(slider, "3");
    expect(n_sent() - before).toBe(2);
    await act(() => void document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "z", ctrlKey: true, bubbles: true })));
    expect(source.last("set_interventions").interventions).toEqual([]);
    await act(() => void document.body.dispatchEvent(new KeyboardEvent("keydown", { key: "y", ctrlKey: true, bubbles: true })));
    expect(source.last("set_interventions").interventions[0]?.amount).toBe(3);
  });

  it("typing in a field keeps Ctrl Z for the field", async () => {
    await begin();
    store.selection.value = HEAD;
    await press("a");
    const before = n_sent();
    await act(() => void $("#prompt").dispatchEvent(new KeyboardEvent("keydown", { key: "z", ctrlKey: true, bubbles: true })));
    expect(n_sent()).toBe(before);
  });
});

describe("another viewer's change", () => {
  it("is not undone with mine", async () => {
    await begin();
    store.selection.value = HEAD;
    await press("a");
    const mine = await applied();
    const theirs = toggled([], NEURON)[0]!;
    source.say({
      type: "interventions_applied", run_id: "run-1", request_id: null,
      applied: { revision: 2, from_pos: 4, mode: "from_now", interventions: [...mine, theirs], author: "you" },
    });
    await settle();
    await press("u");
    expect(source.last("set_interventions").interventions.map((spec) => spec.intervention_id)).toEqual(["L0N2"]);
  });
});

describe("who changed the set", () => {
  it("is said of each intervention, and of each set the run has had; a click goes to where it took hold", async () => {
    await begin();
    store.selection.value = HEAD;
    await press("a");
    const mine = await applied(2);
    source.say({
      type: "interventions_applied", run_id: "run-1", request_id: null,
      applied: { revision: 2, from_pos: 3, mode: "from_now", interventions: [...mine, ...toggled([], NEURON)], author: "3f2a77" },
    });
    await settle();
    expect([...document.querySelectorAll(".intervention .where")].map((one) => one.textContent)).toEqual(
      ["from position 2 (“ t2”) · you · rev 1", "from position 3 (“ t3”) · viewer 3f2a · rev 2"]);
    await click("#set-history-toggle");
    const said = [...document.querySelectorAll(".set-history-list li")].map((one) => one.textContent);
    expect(said).toEqual(["viewer 3f2a+ L0N2from position 3 “ t3” · rev 2", "you+ L1H1from position 2 “ t2” · rev 1"]);
    await click(".set-history-list li:last-child button");
    expect(store.current_pos.value).toBe(2);
  });
});

describe("whole sets", () => {
  it("are kept, used, and refused where they are of another model", async () => {
    await begin();
    store.selection.value = HEAD;
    await press("a");
    await applied();
    await click("#sets-toggle");
    await write($("#set-name"), "one head", "input");
    await act(() => $<HTMLFormElement>(".sets form").requestSubmit());
    expect(localStorage.getItem("livelens.intervention_sets")).toContain("one head");
    await click('[aria-label="Remove the intervention on L1H1"]');
    await applied();
    await click('[aria-label="Use one head"]');
    await settle();
    expect((await applied()).map((spec) => spec.intervention_id)).toEqual(["L1H1"]);
    const before = n_sent();
    const big = { ...model_of(HELLO.model_info), n_layers: 30 };
    state.interventions.saved.value = [{ name: "big", model: big, interventions: toggled([], { ...HEAD, layer: 29 }), directions: [], edits: [] }];
    await settle();
    await click('[aria-label="Use big"]');
    await settle();
    expect(n_sent()).toBe(before);
    expect(text_of(".sets [role=alert]")).toMatch(/tiny has no L29H1/);
  });

  it("dropped on the panel are opened", async () => {
    await begin();
    const text = set_text({ name: "dropped", model: model_of(HELLO.model_info), interventions: toggled([], NEURON), directions: [], edits: [] });
    const event = Object.assign(new Event("drop", { bubbles: true, cancelable: true }), { dataTransfer: { files: [{ name: "x.json", text: () => Promise.resolve(text) }] } });
    await act(() => void $(".interventions").dispatchEvent(event));
    await settle();
    expect(source.last("set_interventions").interventions.map((spec) => spec.intervention_id)).toEqual(["L0N2"]);
  });

  it("switched off and on again, it is what it was", async () => {
    await begin();
    store.interventions.value = [toggled([], HEAD)[0]!, { ...toggled([], NEURON)[0]!, enabled: false }];
    await settle();
    await click("#all-off");
    expect((await applied()).map((spec) => spec.enabled)).toEqual([false, false]);
    await click("#all-off");
    expect((await applied()).map((spec) => spec.enabled)).toEqual([true, false]);
  });
});

describe("turning attention", () => {
  it("two clicks make an arc; the heads that look there are found and turned together", async () => {
    await begin();
    await click("#tab-turn");
    await click('.arc-token[data-pos="3"]');
    await click('.arc-token[data-pos="1"]');
    expect(text_of(".turn-words")).toBe("looks at “ t1” (1) instead of all else.");
    await write(labelled("How many heads"), "2");
    await click("#find-looking");
    expect(store.picked.value).toEqual([{ kind: "head", layer: 1, index: 1 }, { kind: "head", layer: 1, index: 0 }]);
    await click("#turn-apply");
    expect(source.last("set_interventions").interventions[0]).toMatchObject({
      operation: "attention_turn", attention: { keys: [1] }, positions: { scope: "range", from_pos: 3, to_pos: null },
    });
  });

  it("heads that add most to the Why answer are found, all of them or those that look at the marked tokens so much", async () => {
    await begin();
    await click("#tab-turn");
    await click('.arc-token[data-pos="3"]');
    await click('.arc-token[data-pos="1"]');
    const floats = (...values: number[]): HostTensor => ({ shape: [values.length], values: new Float32Array(values) });
    const none = floats();
    const answer: OverviewAnswer = {
      type: "overview_ready", request_id: 1, run_id: "run-1", layer_line: none, direct_heads: floats(5, -1, 2, 1), direct_mlps: none,
      metric: { pos: 3, target_id: 3, target_text: " t3", distractor_id: null, distractor_text: null, value: 3, notice: null },
      direct_bias: none, relevance_heads: none, relevance_mlps: none, embed: 0, final_bias: 0, neurons: [], neuron_values: none, shown: 1,
    };
    await act(() => void (store.analysis.overview.slot.value = { ...store.analysis.overview.slot.peek(), answer }));
    await write(labelled("How many heads"), "2");
    await click("#find-carrying");
    expect(store.picked.value).toEqual([{ kind: "head", layer: 0, index: 0 }, { kind: "head", layer: 1, index: 0 }]);
    const least = labelled("Percent of the look that must be on the marked tokens; empty: any head") as HTMLInputElement;
    await write(least, "50", "input");
    await write(least, "50");
    await click("#find-carrying");
    expect(store.picked.value).toEqual([HEAD]);
  });

  it("a drag from one token to another does the same", async () => {
    await begin();
    store.selection.value = HEAD;
    await click("#tab-turn");
    const at = (name: string, pos: number, x: number): PointerEvent =>
      Object.assign(new MouseEvent(name, { bubbles: true, clientX: x, button: 0 }), { pointerId: pos }) as unknown as PointerEvent;
    document.elementFromPoint = () => $('.arc-token[data-pos="0"]');
    await act(() => void $('.arc-token[data-pos="2"]').dispatchEvent(at("pointerdown", 1, 100)));
    await act(() => void $(".arc-row").dispatchEvent(at("pointermove", 1, 20)));
    await act(() => void $(".arc-row").dispatchEvent(at("pointerup", 1, 20)));
    expect(state.interventions.turn.value).toMatchObject({ attention: { keys: [0] }, positions: { from_pos: 2 } });
    expect($<HTMLButtonElement>("#turn-apply").disabled).toBe(false);
  });

  it("words are marked by name, all their tokens; arrows walk from token to token", async () => {
    await begin();
    store.selection.value = HEAD;
    await click("#tab-turn");
    await click('.arc-token[data-pos="3"]');
    await write(labelled("Word to mark"), "T1 t2", "input");
    await act(() => $<HTMLFormElement>(".mark-word").requestSubmit());
    expect(state.interventions.turn.value.attention?.keys).toEqual([1, 2]);
    await write(labelled("Word to mark"), "t4", "input");
    await act(() => $<HTMLFormElement>(".mark-word").requestSubmit());
    await settle();
    expect(text_of(".toast")).toMatch(/does not stand in the text up to position 3/);
    const stops = [...document.querySelectorAll<HTMLElement>(".arc-token")].filter((token) => token.tabIndex === 0);
    expect(stops.map((token) => token.dataset["pos"])).toEqual(["3"]);
    const arrow = new KeyboardEvent("keydown", { key: "ArrowLeft", bubbles: true, cancelable: true });
    await act(() => void stops[0]!.dispatchEvent(arrow));
    expect((document.activeElement as HTMLElement).dataset["pos"]).toBe("2");
    expect(store.current_pos.value).toBe(3);
  });

  it("begun anew, the next arc says where to look again, whatever a click marked before", async () => {
    await begin();
    store.selection.value = HEAD;
    await click("#tab-turn");
    await click('[data-mark-mode="from_keys"]');
    await act(() => [...document.querySelectorAll<HTMLElement>(".turn-tools button")].find((one) => one.textContent === "Clear")!.click());
    await click('.arc-token[data-pos="3"]');
    await click('.arc-token[data-pos="1"]');
    expect(text_of(".turn-words")).toBe("looks at “ t1” (1) instead of all else.");
  });

  it("a token cannot look ahead, and weights must sum to something", async () => {
    await begin();
    store.selection.value = HEAD;
    await click("#tab-turn");
    await click('.arc-token[data-pos="1"]');
    await click('.arc-token[data-pos="3"]');
    expect(text_of(".turn-tools [role=status]")).toMatch(/comes later/);
    await click('.arc-token[data-pos="3"]');
    await click('.arc-token[data-pos="0"]');
    await write(labelled("Weight of position 0; empty: equal shares"), "0");
    expect(text_of(".turn-tools [role=status]")).toMatch(/needs some weight/);
  });
});

describe("directions", () => {
  it("a file that holds none is refused beside the button that opens one, and the next try begins anew", async () => {
    await begin();
    await click("#tab-directions");
    const open = async (...bytes: number[]): Promise<void> => {
      const field = labelled<HTMLInputElement>("Open a direction from a file");
      Object.defineProperty(field, "files", { value: [new File([Uint8Array.of(...bytes)], "x.safetensors")], configurable: true });
      await act(() => void field.dispatchEvent(new Event("change", { bubbles: true })));
      await settle();
    };
    await open(1, 2, 3);
    expect(text_of(".direction-make [role=alert]")).toBe("This cannot be opened as a direction: it is too short.");
    expect(document.querySelector(".toast")).toBeNull();
    await open(255, 255, 255, 255, 0, 0, 0, 0, 123);
    expect(text_of(".direction-make [role=alert]")).toBe("This cannot be opened as a direction: its header does not fit into it.");
    expect(n_sent()).toBe(0);
  });

  it("are asked for, judged by what was held out, and steered with", async () => {
    await begin();
    await click("#tab-directions");
    expect(text_of(".direction-form [role=status]")).toMatch(/at least two prompts/);
    await write(labelled("Towards, one prompt a line"), "good\ngreat", "input");
    await write(labelled("Away from, one prompt a line"), "bad\nawful", "input");
    await act(() => $<HTMLFormElement>(".direction-form").requestSubmit());
    const { request_id, recipe } = source.last("request_direction");
    expect(recipe).toMatchObject({ kind: "contrast", layer: null, positive: ["good", "great"] });
    source.say({
      type: "direction_ready", request_id, run_id: "run-1",
      direction: { direction_id: "d1", name: "good", recipe, d_model: 4, norm: 2, layer: 1 },
      vector: { shape: [4], values: new Float32Array([1, 1, 1, 1]) },
      separation: { shape: [2], values: new Float32Array([0.5, 3]) },
      accuracy: { shape: [2], values: new Float32Array([0.5, 1]) },
    });
    await settle();
    expect(text_of(".separation figcaption")).toBe("After L1 prompts that were held out lie 3 standard deviations apart, 100.0 % of them on their own side.");
    await click('[aria-label="Steer with good"]');
    const put = source.last("put_direction"); // again: the server may have been started anew since
    expect(new Float32Array(put.data.buffer)).toEqual(new Float32Array([1, 1, 1, 1]));
    source.say({ type: "direction_stored", request_id: put.request_id, direction: { direction_id: "d1", name: "good", recipe, d_model: 4, norm: 2, layer: 1 } });
    await settle();
    expect((await applied())[0]).toMatchObject({
      operation: "add_direction", direction_id: "d1", components: [], stream: [{ layer: 1 }], amount: 1, unit: "direction",
    });
    expect(text_of(".intervention .link")).toBe("stream after L1");
    expect(text_of(".intervention .operation")).toBe("+ 1 × “good”");
    const before = n_sent();
    await write(labelled("Strength, slider"), "2.5", "input");
    expect(n_sent()).toBe(before + 1);
    expect(source.last("set_interventions").interventions[0]?.amount).toBe(2.5);
    store.selection.value = { kind: "mlp", layer: 0, index: 0 };
    await settle();
    await click('[aria-label="Put L0.mlp to good"]');
    const again = source.last("put_direction");
    source.say({ type: "direction_stored", request_id: again.request_id, direction: { direction_id: "d1", name: "good", recipe, d_model: 4, norm: 2, layer: 1 } });
    await settle();
    expect(source.last("set_interventions").interventions.at(-1)).toMatchObject({ operation: "set", direction_id: "d1", amount: 1 });
    expect(kept_directions(HELLO_ALL.model_info).map((held) => held.info.name)).toEqual(["good"]);
  });
});
