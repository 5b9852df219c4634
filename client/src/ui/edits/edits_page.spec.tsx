// @vitest-environment jsdom
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HELLO, step, type FakeSource } from "../../connection/fake_source";
import { rank_one_recipe } from "../../protocol/event_checks";
import type { Hello, InterventionSpec } from "../../protocol/generated";
import { model_of, set_text } from "../interventions/set_file";
import type { PageState } from "../page";
import { begin_run, close_page, open_page, text_of } from "../page_harness";
import { click, labelled } from "../spec_hands";
import { hold } from "./edit_actions";
import { written_edit } from "./edit_text";
import type { HeldEdit } from "./edits_state";

const HELLO_EDITS: Hello = {
  ...HELLO,
  model_info: { ...HELLO.model_info, capabilities: { ...HELLO.model_info.capabilities, operations: ["zero", "rank_one_edit"] } },
};
const HELD: HeldEdit = {
  info: {
    edit_id: "e1", name: "Rome", recipe: rank_one_recipe({ kind: "put", matrix: "mlp_out", layer: 1 }, "recipe"), d_in: 3, d_model: 4,
    key_norm: 1.5, value_norm: Math.sqrt(6),
  },
  key: new Float32Array([1, 0.5, -1]), value: new Float32Array([1, 0, -2, 1]), made: null,
};
const SPEC: InterventionSpec = {
  intervention_id: "edit", operation: "rank_one_edit", components: [{ kind: "mlp", layer: 1, index: 0 }], amount: 1, enabled: true,
  edit_id: "e1",
};

let state: PageState;
let source: FakeSource;
let settle: () => Promise<void>;

beforeEach(async () => {
  localStorage.clear();
  await open();
});
afterEach(close_page);

async function open(): Promise<void> {
  let store;
  ({ state, source, settle, store } = await open_page({ hello: HELLO_EDITS }));
  hand_back = { store, state } as Parameters<typeof hold>[0];
  await begin_run({ source, settle }, [step(0)]);
}
let hand_back: Parameters<typeof hold>[0];

async function drop(text: string): Promise<void> {
  const event = Object.assign(new Event("drop", { bubbles: true, cancelable: true }), { dataTransfer: { files: [{ name: "x.json", text: () => Promise.resolve(text) }] } });
  await act(() => void document.querySelector(".interventions")!.dispatchEvent(event));
  await settle();
}

const SET = { name: "Rome", model: model_of(HELLO_EDITS.model_info), interventions: [SPEC], directions: [], edits: [written_edit(HELD)] };
const n_sets = (): number => source.sent.filter(({ type }) => type === "set_interventions").length;

describe("edits of this page", () => {
  it("are listed again when the page is loaded anew, and forgotten where one says so", async () => {
    await act(() => hold(hand_back, HELD));
    close_page();
    await open();
    await click("#tab-edits");
    expect(text_of(".edit h3")).toBe("Rome");
    expect(state.edits.held.value).toEqual([HELD]);
    await click('[aria-label="Forget Rome"]');
    close_page();
    await open();
    expect(state.edits.held.value).toEqual([]);
  });

  it("a file that holds none is refused beside the button that opens one", async () => {
    await click("#tab-edits");
    const field = labelled<HTMLInputElement>("Open an edit from a file");
    Object.defineProperty(field, "files", { value: [new File([Uint8Array.of(1, 2, 3)], "x.safetensors")] });
    await act(() => void field.dispatchEvent(new Event("change", { bubbles: true })));
    await settle();
    expect(text_of(".direction-make [role=alert]")).toMatch(/^This cannot be opened as an? edit.*too short/);
    expect(document.querySelector(".toast")).toBeNull();
    expect(source.sent.some(({ type }) => type === "put_rank_one_edit")).toBe(false);
  });

  it("of another model's widths are left out", async () => {
    await act(() => hold(hand_back, { ...HELD, key: new Float32Array([1, 2]) }));
    close_page();
    await open();
    expect(state.edits.held.value).toEqual([]);
  });
});

describe("a set that brings its edits", () => {
  it("makes them known to the server before it is put in force", async () => {
    await drop(set_text(SET));
    const put = source.last("put_rank_one_edit");
    expect(put).toMatchObject({ name: "Rome", recipe: HELD.info.recipe });
    expect(new Float32Array(put.key.buffer)).toEqual(HELD.key);
    expect(new Float32Array(put.value.buffer)).toEqual(HELD.value);
    expect(n_sets()).toBe(0);
    source.say({ type: "rank_one_edit_stored", request_id: put.request_id, edit: HELD.info });
    await settle();
    expect(source.last("set_interventions").interventions).toMatchObject([{ operation: "rank_one_edit", edit_id: "e1" }]);
    expect(state.edits.held.value).toEqual([HELD]);
  });

  it.each([
    ["is refused by the server", (id: number) => source.say({ type: "error_report", request_id: id, code: "bad_edit", message: "no such matrix", run_id: null }), /no such matrix/],
    ["is not the one of its id", (id: number) => source.say({ type: "rank_one_edit_stored", request_id: id, edit: { ...HELD.info, edit_id: "e2" } }), /does not hold the numbers that its id says/],
  ])("one that %s is told beside the sets, and nothing is put in force", async (_, answer, message) => {
    await drop(set_text(SET));
    answer(source.last("put_rank_one_edit").request_id);
    await settle();
    expect(text_of(".sets [role=alert]")).toMatch(message);
    expect(n_sets()).toBe(0);
    expect(state.edits.held.value).toEqual([]);
  });

  it("of a model of other widths is refused before anything is sent", async () => {
    await drop(set_text({ ...SET, model: { ...SET.model, d_mlp: 2 }, edits: [written_edit({ ...HELD, key: new Float32Array([1, 2]) })] }));
    expect(text_of(".sets [role=alert]")).toMatch(/key of 2 and a value of 4 numbers; tiny's W_out takes 3 and 4/);
    expect(source.sent.some(({ type }) => type === "put_rank_one_edit")).toBe(false);
  });
});
