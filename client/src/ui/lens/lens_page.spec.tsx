// @vitest-environment jsdom
import { act } from "preact/test-utils";
import { afterEach, beforeEach, expect, it } from "vitest";
import { HELLO, snapshot, step, type FakeSource } from "../../connection/fake_source";
import type { Capabilities } from "../../protocol/generated";
import type { Store } from "../../store/store";
import type { HostTensor } from "../../store/types";
import type { PageState } from "../page";
import { close_page, open_page, text_of } from "../page_harness";

const ANALYSES: Capabilities["analyses"] = ["lens", "head_lens", "stream_pca", "attention_entropy"];
let store: Store;
let state: PageState;
let source: FakeSource;
let settle_once: () => Promise<void>;

async function settle(): Promise<void> {
  await settle_once();
  await settle_once();
}

async function open_lens(analyses = ANALYSES): Promise<void> {
  const capabilities: Capabilities = { ...HELLO.model_info.capabilities, analyses, missing_analyses: [] };
  const hello = { ...HELLO, model_info: { ...HELLO.model_info, capabilities } };
  Object.defineProperty(HTMLElement.prototype, "clientWidth", { configurable: true, get: () => 1000 });
  ({ store, state, source, settle: settle_once } = await open_page({ hello }));
  await act(() => document.getElementById("run")!.click());
  const { request_id } = source.last("start_run");
  source.say({ type: "run_started", request_id, run: snapshot() });
  const lens = tensor([2], 0.5, 0.25);
  for (let pos = 0; pos < 4; pos++) {
    source.say(step(pos, { lens_texts: [" x", " y"], tensors: { lens_prob: lens, lens_rank: tensor([2], 4, 0), lens_entropy: lens } }));
  }
  source.say({ type: "run_finished", run_id: "run-1", reason: "eos", message: "", n_generated: 3, text: "x" });
  await settle();
  await click("Logit lens");
  await settle();
}

const tensor = (shape: number[], ...values: number[]): HostTensor => ({ shape, values: new Float32Array(values) });
const sent = (type: string): number => source.sent.filter((command) => command.type === type).length;
const cell = (pos: number, layer: number): HTMLElement => document.querySelector(`[data-cell="${pos} ${layer}"]`)!;

async function click(what: string): Promise<void> {
  const element = [...document.querySelectorAll<HTMLElement>("button")].find((button) => button.textContent?.trim() === what);
  if (!element) throw new Error(`nothing says ${what}`);
  await act(() => element.click());
  await settle();
}

function lens_answer(pos: number, words: string[]): Parameters<FakeSource["say"]>[0] {
  const { request_id } = source.last("request_lens");
  const top = words.map((text, i) => ({ token_id: i, text, prob: 0.5 / (i + 1) }));
  return {
    type: "lens_ready", request_id, run_id: "run-1", pos, target_id: 1, target_text: " chosen", notice: null,
    top: [top, [...top].reverse()], entropy: tensor([2], 1.5, 0.5), rank: tensor([2], 3, 0), logprob: tensor([2], -2, -0.1),
  };
}

beforeEach(() => open_lens());

afterEach(() => {
  Reflect.deleteProperty(HTMLElement.prototype, "clientWidth");
  close_page();
});

it("a cell that is pointed at is put into words, its token asked once for all layers", async () => {
  await act(() => void cell(1, 0).dispatchEvent(new Event("mouseenter")));
  await settle();
  expect(source.last("request_lens").pos).toBe(1);
  const n_asked = sent("request_lens");
  source.say(lens_answer(1, [" one", " two", " three", " four", " five"]));
  await settle();
  expect(text_of(".cell-card h3")).toContain("After layer 0 at 1");
  expect(document.querySelectorAll(".cell-card .prob-bars li")).toHaveLength(5);
  expect(text_of(".cell-card li:first-child")).toContain("one");
  expect(document.querySelector<HTMLElement>(".cell-card")?.tabIndex).toBe(0); // in a low window it is scrolled, by keys too
  expect(text_of(".cell-facts")).toContain("rank 4");
  expect(text_of(".cell-facts")).toContain("entropy 1.5 nat");
  await act(() => void cell(1, 1).dispatchEvent(new Event("mouseenter")));
  await settle();
  expect(text_of(".cell-card li:first-child")).toContain("five");
  expect(text_of(".cell-facts")).toContain("rank 1 ");
  expect(sent("request_lens")).toBe(n_asked);
});

it("the pointer that passes over asks nothing, and what was looked away from is given up", async () => {
  const before = sent("request_lens");
  await act(() => void cell(0, 0).dispatchEvent(new Event("mouseenter")));
  await act(() => void cell(1, 0).dispatchEvent(new Event("mouseenter")));
  await settle();
  expect(sent("request_lens")).toBe(before + 1);
  const asked = source.last("request_lens");
  await act(() => void cell(2, 0).dispatchEvent(new Event("mouseenter")));
  await settle();
  expect(source.last("cancel_analysis").cancels).toBe(asked.request_id);
});

it("the keys walk from cell to cell, and the card and Enter follow them", async () => {
  cell(3, 1).focus();
  await settle();
  const press = async (key: string): Promise<void> => {
    await act(() => void document.activeElement!.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })));
    await settle();
  };
  const shown = store.current_pos.value;
  await press("ArrowLeft");
  await press("ArrowDown");
  expect(document.activeElement).toBe(cell(2, 0));
  expect(store.current_pos.value).toBe(shown); // the page's own arrows did not move along the text
  expect(text_of(".cell-card h3")).toContain("After layer 0 at 2");
  expect(document.querySelectorAll(".lens-table .cell[tabindex='0']")).toHaveLength(1);
  await press("Enter");
  expect([store.current_pos.value, store.selection.value]).toEqual([2, { kind: "mlp", layer: 0, index: 0 }]);
});

it("what heads write is a grid and a table that add up to the logit", async () => {
  await click("Heads");
  const { request_id, pos } = source.last("request_head_lens");
  const ints = (shape: number[], ...values: number[]): HostTensor => ({ shape, values: new Int32Array(values) });
  source.say({
    type: "head_lens_ready", request_id, run_id: "run-1", pos, target_id: 7, target_text: " Mary", notice: null,
    head_token_id: ints([2, 2, 1], 7, 8, 8, 7), head_value: tensor([2, 2, 1], 1, 2, 3, 4), head_rank: ints([2, 2], 0, 9, 99, 0),
    mlp_token_id: ints([2, 1], 8, 7), mlp_value: tensor([2, 1], 5, 6), mlp_rank: ints([2], 3, 0),
    words: [{ token_id: 7, text: " Mary", logprob: null }, { token_id: 8, text: " John", logprob: null }],
    direct_heads: tensor([2, 2], 1, -0.5, -3, 4), direct_mlps: tensor([2], 0.25, 6), direct_bias: tensor([2], 0.5, 0.25),
    embed: 0.5, final_bias: 1, total: 10,
  });
  await settle();
  const rows = [...document.querySelectorAll(".lens-writes tbody tr")].map((row) => row.textContent);
  expect(rows[0]).toBe("L1.mlp+61“ Mary”");
  expect(rows[2]).toBe("L1H0−3100“ John”");
  expect(text_of(".lens-sums")).toContain("together +10, of +10");
  await click("L1H0");
  expect(store.selection.value).toEqual({ kind: "head", layer: 1, index: 0 });
  expect(text_of(".write-card")).toContain("L1H0 adds −3 to “ Mary”, which ranks 100");
});

it("how widely heads look is a table from the narrowest, and leads to the head over the whole text", async () => {
  await click("Entropy of looks");
  const { request_id, pos } = source.last("request_attention_entropy");
  source.say({
    type: "attention_entropy_ready", request_id, run_id: "run-1", pos, entropy: tensor([2, 2], 1, 0.5, 0.25, 1.25),
    top_key: { shape: [2, 2], values: new Int32Array([0, 1, 2, 0]) }, top_weight: tensor([2, 2], 0.5, 0.6, 0.9, 0.3),
  });
  await settle();
  const first = (): string => document.querySelector(".lens-writes tbody tr")!.textContent;
  expect(first()).toContain("L1H00.25");
  expect(first()).toContain("90.0 %");
  await click("Entropy, nat ▲");
  expect(first()).toContain("L1H11.25");
  await click("L1H1");
  await click("L1H1 over the whole text");
  expect(state.parts.profile_open.value).toBe(true);
});

it("paths are asked for while they are wanted, and never shown of another state of the run", async () => {
  expect(sent("request_stream_pca")).toBe(0);
  store.stream.is_shown.value = true;
  await settle();
  const asked = source.last("request_stream_pca");
  expect([asked.scaling, asked.skip_first]).toEqual(["rms", 1]);
  const answer = (request_id: number): Parameters<FakeSource["say"]>[0] => ({
    type: "stream_pca_ready", request_id, run_id: "run-1", scaling: "rms", skip_first: 1,
    coordinates: tensor([4, 3, 3], ...Array.from({ length: 36 }, (_, i) => i)), explained: tensor([3], 0.5, 0.25, 0.0625),
    promoted: [[], [], []], suppressed: [[], [], []],
  });
  source.say(answer(asked.request_id));
  await settle();
  store.stream.scaling.value = "none";
  await settle();
  expect(source.last("request_stream_pca").scaling).toBe("none");
  source.say(answer(source.last("request_stream_pca").request_id));
  await settle();
  expect(store.stream.inquiry.slot.value.answer).not.toBeNull();
  store.stream.toggle(1);
  source.say({ type: "run_rewound", run_id: "run-1", from_pos: 0, n_tokens: 2, text: "", revision: 5 });
  await settle();
  expect(store.stream.inquiry.slot.value.answer).toBeNull();
  store.stream.is_shown.value = false;
  await settle();
  expect(store.stream.pinned.value).toEqual([1]);
});

it("says why there are no paths where there is no picture", async () => {
  await click("Paths in 3D");
  expect(text_of(".lens-scroll")).toContain("No paths: there is no picture");
  expect(store.stream.is_shown.value).toBe(false);
});

it("the grid has the layers that are looked at, and the keys stay in them", async () => {
  await act(() => void (store.layer_range.value = { first_layer: 0, last_layer: 0 }));
  await settle();
  expect([...document.querySelectorAll(".lens-table tbody .layer-name")].map((name) => name.textContent)).toEqual(["L0"]);
  const entry = document.querySelector<HTMLElement>('.lens-table .cell[tabindex="0"]')!;
  expect(entry.dataset["cell"]).toBe("3 0");
  await act(() => entry.focus());
  await act(() => void entry.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowUp", bubbles: true, cancelable: true })));
  expect(state.lens.focused.value).toEqual({ pos: 3, layer: 0 });
});

it("the card begins at the last of the layers that are shown, also where one that is not is selected", async () => {
  expect(text_of(".cell-card h3")).toMatch(/^After layer 1 at 3/);
  await act(() => void (store.layer_range.value = { first_layer: 0, last_layer: 0 }));
  await settle();
  expect(text_of(".cell-card h3")).toMatch(/^After layer 0 at 3/);
  await act(() => void (store.selection.value = { kind: "mlp", layer: 1, index: 0 }));
  await settle();
  expect(text_of(".cell-card h3")).toMatch(/^After layer 0 at 3/);
  await act(() => void (store.layer_range.value = null));
  await settle();
  expect(text_of(".cell-card h3")).toMatch(/^After layer 1 at 3/);
});
