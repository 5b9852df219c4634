// @vitest-environment jsdom
import { act } from "preact/test-utils";
import { afterEach, describe, expect, it } from "vitest";
import type { FakeSource } from "../../connection/fake_source";
import { HELLO, snapshot, step } from "../../connection/fake_source";
import type { Capabilities } from "../../protocol/generated";
import type { EffectsAnswer, HeadProfileAnswer, HeadScoresAnswer, NeuronProfileAnswer } from "../../protocol/questions";
import type { Store } from "../../store/store";
import type { HostTensor } from "../../store/types";
import type { PageState } from "../page";
import { close_page, open_page, text_of } from "../page_harness";

const ANALYSES: Capabilities["analyses"] = ["head_profile", "neuron_profile", "head_scores", "effects"];
let store: Store;
let state: PageState;
let source: FakeSource;
let settle_once: () => Promise<void>;

/** Twice: an effect of the first frame may ask for another. */
async function settle(): Promise<void> {
  await settle_once();
  await settle_once();
}

async function open_finished_run(analyses = ANALYSES): Promise<void> {
  const capabilities: Capabilities = { ...HELLO.model_info.capabilities, analyses,
    missing_analyses: [{ analysis: "head_profile", reason: "This engine has no weights." }] };
  const hello = { ...HELLO, model_info: { ...HELLO.model_info, capabilities } };
  ({ store, state, source, settle: settle_once } = await open_page({ hello }));
  await act(() => document.getElementById("run")!.click());
  const { request_id } = source.last("start_run");
  source.say({ type: "run_started", request_id, run: snapshot() });
  for (let pos = 0; pos < 4; pos++) source.say(step(pos));
  source.say({ type: "run_finished", run_id: "run-1", reason: "eos", message: "", n_generated: 3, text: "x" });
  await settle();
}

afterEach(() => {
  close_page();
  sessionStorage.clear();
});

const sent = (type: string): number => source.sent.filter((command) => command.type === type).length;
const tensor = (shape: number[], ...values: number[]): HostTensor => ({ shape, values: new Float32Array(values) });

async function click(what: string | HTMLElement): Promise<void> {
  const element = typeof what === "string"
    ? [...document.querySelectorAll<HTMLElement>("button")].find((button) => button.textContent?.includes(what)) : what;
  if (!element) throw new Error(`nothing says ${String(what)}`);
  await act(() => element.click());
  await settle();
}

const SCORE = { layer: 1, head_index: 0, previous_token: 0.1, duplicate_token: 0.2, induction: 0.88, copying: -0.4 };
const word = (text: string, prob: number) => ({ token_id: text.length, text, prob });

function head_answer(request_id: number): HeadProfileAnswer {
  return {
    type: "head_profile_ready", request_id, run_id: "run-1", layer: 1, head_index: 0, query_pos: 3,
    pattern: tensor([2, 2], 1, 0, 0.25, 0.75), entropy: tensor([2], 0, 0.56), score: SCORE,
    reads: [{ key_pos: 1, text: " b", weight: 0.75, promoted: [word(" up", 1.5)], suppressed: [word(" down!", -2)] },
      { key_pos: 0, text: "a", weight: 0.001, promoted: [], suppressed: [] }],
    feeders: [{ component: { kind: "head", layer: 0, index: 1 }, part: "key", score: 0.2 }],
  };
}

describe("a head's profile", () => {
  it("is asked for only once it is opened, and given up when it is left", async () => {
    await open_finished_run();
    store.selection.value = { kind: "head", layer: 1, index: 0 };
    await settle();
    expect(sent("request_head_profile")).toBe(0);
    await click("What this head does");
    const asked = source.last("request_head_profile");
    expect([asked.layer, asked.head_index, asked.query_pos]).toEqual([1, 0, 3]);
    store.selection.value = null;
    await settle();
    expect(source.last("cancel_analysis").cancels).toBe(asked.request_id);
  });

  it("shows scores, what is written and who feeds it, and a feeder can be selected", async () => {
    await open_finished_run();
    store.selection.value = { kind: "head", layer: 1, index: 0 };
    state.parts.profile_open.value = true;
    await settle();
    source.say(head_answer(source.last("request_head_profile").request_id));
    await settle();
    expect(text_of("[data-score=induction] b")).toBe("0.88");
    expect(text_of("[data-score=copying] b")).toBe("−0.4");
    expect(text_of(".reads")).toContain(" up +1.5");
    expect(text_of(".reads")).not.toContain("0.1 % from");
    await click("L0H1");
    expect(store.selection.value).toEqual({ kind: "head", layer: 0, index: 1 });
  });

  it("puts the key in words that is chosen by number, until the query cannot see it", async () => {
    await open_finished_run();
    store.selection.value = { kind: "head", layer: 1, index: 0 };
    state.parts.profile_open.value = true;
    await settle();
    source.say(head_answer(source.last("request_head_profile").request_id));
    await settle();
    const [query, key] = [...document.querySelectorAll<HTMLInputElement>(".position-pickers input")];
    const set = async (input: HTMLInputElement, value: string): Promise<void> => {
      input.value = value;
      await act(() => void input.dispatchEvent(new Event("change", { bubbles: true })));
      await settle();
    };
    await set(key!, "0");
    expect(source.last("request_head_profile").key_pos).toBe(0);
    source.say(head_answer(source.last("request_head_profile").request_id));
    await settle();
    expect(text_of(".reads [data-asked]")).toContain("0.1 % from");
    await set(key!, "7");
    expect(source.last("request_head_profile").key_pos).toBeNull();
    await set(query!, "1");
    expect(store.current_pos.value).toBe(1);
  });

  it("is asked again for another token of a run that rests, and refused in the server's words", async () => {
    await open_finished_run();
    store.selection.value = { kind: "head", layer: 1, index: 0 };
    state.parts.profile_open.value = true;
    await settle();
    source.say(head_answer(source.last("request_head_profile").request_id));
    await settle();
    store.follow.value = false;
    store.current_pos.value = 1;
    await settle();
    const asked = source.last("request_head_profile");
    expect([sent("request_head_profile"), asked.query_pos]).toEqual([2, 1]);
    source.say({ type: "error_report", request_id: asked.request_id, run_id: "run-1", code: "bad_command", message: "Too long." });
    await settle();
    expect(text_of(".profile [role=alert]")).toContain("Too long.");
  });

  it("stays as it is while a run is written, says so, and is never shown of another run", async () => {
    await open_finished_run();
    store.selection.value = { kind: "head", layer: 1, index: 0 };
    state.parts.profile_open.value = true;
    await settle();
    source.say(head_answer(source.last("request_head_profile").request_id));
    await settle();
    store.run.value = { ...store.run.value!, state: "running", revision: 1 };
    await settle();
    expect(sent("request_head_profile")).toBe(1);
    expect(text_of(".asked-again")).toContain("gone on since");
    expect(document.querySelector(".scores")).not.toBeNull();
    store.run.value = { ...store.run.value, run_id: "run-2" };
    await settle();
    expect(document.querySelector(".scores")).toBeNull();
    await click("Update");
    expect(sent("request_head_profile")).toBe(2);
  });

  it("says why where the engine cannot", async () => {
    await open_finished_run(["effects"]);
    store.selection.value = { kind: "head", layer: 1, index: 0 };
    state.parts.profile_open.value = true;
    await settle();
    expect(text_of(".part-section")).toContain("no weights");
    expect(sent("request_head_profile")).toBe(0);
  });
});

it("a neuron's profile names its tokens, its loudest places and its kin", async () => {
  await open_finished_run();
  store.selection.value = { kind: "neuron", layer: 1, index: 2 };
  state.parts.profile_open.value = true;
  await settle();
  const { request_id } = source.last("request_neuron_profile");
  const answer: NeuronProfileAnswer = {
    type: "neuron_profile_ready", request_id, run_id: "run-1", layer: 1, neuron_index: 2,
    promoted: [word(" raised", 2)], suppressed: [word(" low", -1)], driven_by: [word(" drives", 4)],
    contexts: [{ pos: 2, value: -3, before: "a b", text: " t2", run_id: null }],
    past_contexts: [{ pos: 1, value: 4, before: "so", text: " loud", run_id: "run-0" }], n_past_runs: 1, n_past_tokens: 6,
    alike_in: [{ component: { kind: "neuron", layer: 0, index: 1 }, part: "input", score: 0.5 }],
    alike_out: [], histogram: tensor([2], 3, 1), histogram_edges: tensor([3], -3, 0, 3),
  };
  source.say(answer);
  await settle();
  expect(text_of(".profile")).toContain(" raised +2");
  expect(document.querySelector(".histogram-bars")?.getAttribute("aria-label")).toBe("4 tokens, values from −3 to 3");
  const past = document.querySelector<HTMLAnchorElement>(".contexts[data-past] a")!;
  expect([past.getAttribute("href"), past.target, past.rel]).toEqual(["#run=run-0", "_blank", "noopener"]);
  expect(text_of(".profile")).toContain("6 tokens of 1 run looked");
  await click(document.querySelector<HTMLElement>(".contexts button")!);
  expect(store.current_pos.value).toBe(2);
  await click("L0N1");
  expect(store.selection.value).toEqual({ kind: "neuron", layer: 0, index: 1 });
});

it("a neuron's question names the runs that this tab has watched, and no others", async () => {
  await open_finished_run();
  store.run.value = { ...store.run.value!, run_id: "run-2" };
  store.selection.value = { kind: "neuron", layer: 1, index: 2 };
  state.parts.profile_open.value = true;
  await settle();
  expect(source.last("request_neuron_profile").past_run_ids).toEqual(["run-1"]);
});

describe("the head finder", () => {
  it("measures once, sorts, filters, and selects by keys", async () => {
    await open_finished_run();
    expect(sent("request_head_scores")).toBe(0);
    await click("Head finder");
    const { request_id } = source.last("request_head_scores");
    source.say({ type: "analysis_progress", request_id, run_id: "run-1", done: 3, total: 8 });
    await settle();
    expect(text_of(".working-text")).toBe("3 of 8 steps");
    const answer: HeadScoresAnswer = { type: "head_scores_ready", request_id, run_id: "run-1", n_random_tokens: 320,
      scores: [{ ...SCORE, layer: 0, induction: 0.1 }, SCORE, { ...SCORE, head_index: 1, induction: 0.5 }] };
    source.say(answer);
    await settle();
    const grid = document.getElementById("finder-grid")!;
    await act(() => void grid.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true })));
    expect(store.selection.value).toEqual({ kind: "head", layer: 1, index: 0 });
    state.parts.finder_least.value = { induction: 0.3 };
    await settle();
    expect(grid.getAttribute("aria-rowcount")).toBe("3");
    await click("Components");
    await click("Head finder");
    expect(sent("request_head_scores")).toBe(1);
  });
});

describe("the causal map", () => {
  const answer = (request_id: number): EffectsAnswer => ({
    type: "effects_ready", request_id, run_id: "run-1", scope: "attn", ablation: "mean", everywhere: false,
    metric: { pos: 3, target_id: 1, target_text: " a", distractor_id: null, distractor_text: null, value: 2, notice: null },
    components: [{ kind: "attn", layer: 0, index: 0 }, { kind: "attn", layer: 1, index: 0 }],
    effects: tensor([2], 0.5, -2), probs: tensor([2], 0.9, 0.95), clean_prob: 0.92, attributed: tensor([2], 0.2, -1),
    spearman: null, sign_agreement: 1, secs: 0.5,
  });

  it("asks for what is chosen, shows progress, and is given up by Cancel", async () => {
    await open_finished_run();
    await click("Causal map");
    expect(sent("request_effects")).toBe(0);
    state.parts.scope.value = "attn";
    state.parts.ablation.value = "mean";
    await settle();
    await act(() => document.querySelector<HTMLFormElement>(".causal-map form")!.requestSubmit());
    await settle();
    const asked = source.last("request_effects");
    expect([asked.scope, asked.ablation, asked.metric.pos, asked.everywhere]).toEqual(["attn", "mean", 3, false]);
    source.say({ type: "analysis_progress", request_id: asked.request_id, run_id: "run-1", done: 1, total: 2 });
    await settle();
    expect(text_of(".working-text")).toBe("1 of 2 steps");
    await click("Cancel");
    expect(source.last("cancel_analysis").cancels).toBe(asked.request_id);
    expect(document.querySelector(".working")).toBeNull();
  });

  async function open_map(): Promise<void> {
    await open_finished_run();
    await click("Causal map");
    await act(() => document.querySelector<HTMLFormElement>(".causal-map form")!.requestSubmit());
    source.say(answer(source.last("request_effects").request_id));
    await settle();
  }

  it("lists the strongest first; a row selects and ablates", async () => {
    await open_map();
    const rows = [...document.querySelectorAll(".measured tbody tr")].map((row) => row.textContent);
    expect(rows).toEqual(["L1.attn−2−195.0 %", "L0.attn+0.5+0.290.0 %"]);
    expect(document.querySelectorAll(".heat-grid")).toHaveLength(2);
    await click("L1.attn");
    expect(store.selection.value).toEqual({ kind: "attn", layer: 1, index: 0 });
    await click(document.querySelector<HTMLElement>(".measured [role=switch]")!);
    expect(store.interventions.value.map((spec) => spec.intervention_id)).toEqual(["L1.attn"]);
  });

  it("veils the layers that are not looked at, and nothing in them can be pointed at", async () => {
    await open_map();
    const pick = async (share: number): Promise<void> => {
      const canvas = document.querySelector<HTMLCanvasElement>(".heat-grid canvas")!;
      canvas.getBoundingClientRect = () => new DOMRect(0, 0, 100, 10);
      await act(() => void canvas.dispatchEvent(new MouseEvent("click", { clientX: 100 * share, clientY: 5, bubbles: true })));
    };
    expect(document.querySelectorAll(".heat-veil")).toHaveLength(0);
    await act(() => void (store.layer_range.value = { first_layer: 1, last_layer: 1 }));
    const veils = [...document.querySelectorAll<HTMLElement>(".heat-veil")].map(({ style }) => [style.left, style.width]);
    expect(veils).toEqual([["0%", "50%"], ["0%", "50%"]]);
    await pick(0.25);
    expect(store.selection.value).toBeNull();
    await pick(0.75);
    expect(store.selection.value).toEqual({ kind: "attn", layer: 1, index: 0 });
  });
});

it("the lens shows every token, those without one as such, and a click shows token and layer", async () => {
  await open_finished_run();
  const lens = tensor([2], 0.5, 0.25);
  source.say(step(2, { seq: 9, lens_texts: [" x", " y"], tensors: { lens_prob: lens, lens_rank: tensor([2], 4, 0), lens_entropy: lens } }));
  await settle();
  Object.defineProperty(HTMLElement.prototype, "clientWidth", { configurable: true, get: () => 1000 });
  await click("Logit lens");
  Reflect.deleteProperty(HTMLElement.prototype, "clientWidth");
  expect(document.querySelectorAll(".lens-table thead .column")).toHaveLength(4);
  expect(document.querySelectorAll(".lens-table .cell[data-none]")).toHaveLength(6);
  const cells = [...document.querySelectorAll<HTMLElement>(".lens-table .cell:not([data-none])")];
  expect(cells.map((cell) => [cell.textContent, cell.dataset.chosen])).toEqual([[" y", "true"], [" x", undefined]]);
  await click(cells[1]!);
  expect([store.current_pos.value, store.selection.value]).toEqual([2, { kind: "mlp", layer: 0, index: 0 }]);
});
