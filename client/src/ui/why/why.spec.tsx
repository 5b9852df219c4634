// @vitest-environment jsdom
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { FakeSource } from "../../connection/fake_source";
import { snapshot, step } from "../../connection/fake_source";
import type { Metric } from "../../protocol/generated";
import type { AttributionAnswer, OverviewAnswer } from "../../protocol/questions";
import type { Store } from "../../store/store";
import type { PageState } from "../page";
import { close_page, open_page, text_of } from "../page_harness";
import { contributions_of, sums_of } from "./contributions";

const METRIC: Metric = {
  pos: 2, target_id: 3, target_text: " t3", distractor_id: 4, distractor_text: " other", value: 3, notice: null,
};
const floats = (shape: number[], ...values: number[]): { shape: number[]; values: Float32Array } => ({
  shape, values: new Float32Array(values),
});

function overview(request_id: number): OverviewAnswer {
  return {
    type: "overview_ready", request_id, run_id: "run-1", metric: METRIC, layer_line: floats([3], 0, 1, 3),
    direct_heads: floats([2, 2], 1, -0.5, 0.25, 0.5), direct_mlps: floats([2], 1, 0.25), direct_bias: floats([2], 0.125, 0),
    relevance_heads: floats([2, 2], 1, 0, 0, 0), relevance_mlps: floats([2], 0, 0), embed: 0.25, final_bias: 0.125,
    neurons: [{ kind: "neuron", layer: 0, index: 2 }], neuron_values: floats([1], -2), shown: 1,
  };
}

function attribution(request_id: number, node: string, direction: "incoming" | "outgoing"): AttributionAnswer {
  const edge = direction === "incoming"
    ? { writer: "L0H0@1", reader: node, part: "value" as const, weight: 2.5 }
    : { writer: node, reader: "logit@2", part: "input" as const, weight: -1.5 };
  const part = { part: edge.part, value: 3, edges: [edge], rest: 0.5, n_rest: 1234, bias: 0, error: 0, key_pos: null, neurons: [] };
  return { type: "attribution_ready", request_id, run_id: "run-1", metric: METRIC, node, direction, relevance: 3, parts: [part] };
}

let store: Store;
let state: PageState;
let source: FakeSource;
let settle: () => Promise<void>;

beforeEach(async () => {
  const prepare = (page: PageState): void => void (page.tab.value = "why");
  ({ store, state, source, settle } = await open_page({ prepare }));
  await act(() => {
    source.say({ type: "run_started", request_id: 999, run: snapshot() });
    for (let pos = 0; pos < 3; pos++) source.say(step(pos));
  });
  await settle();
});

afterEach(close_page);

async function finish(): Promise<void> {
  source.say({ type: "run_finished", run_id: "run-1", reason: "eos", message: "", n_generated: 1, text: "x" });
  await settle();
}

async function answer_all(): Promise<void> {
  const answered = new Set<number>();
  for (let round = 0; round < 4; round++) {
    for (const sent of [...source.sent]) {
      if (answered.has(sent.request_id)) continue;
      answered.add(sent.request_id);
      if (sent.type === "request_overview") source.say(overview(sent.request_id));
      if (sent.type === "request_attribution") source.say(attribution(sent.request_id, sent.node, sent.direction));
    }
    await settle();
  }
}

const asked = (type: string): number => source.sent.filter((sent) => sent.type === type).length;

describe("why", () => {
  it("asks nothing by itself while tokens come, and asks once the run rests", async () => {
    expect(asked("request_overview")).toBe(0);
    await finish();
    expect(source.last("request_overview").metric).toEqual({ pos: 2, target: null, distractor: null, against_mean: false });
    expect(source.last("request_attribution").node).toBe("logit@2");
    await answer_all();
    expect(asked("request_overview")).toBe(1);
    expect(text_of("#metric-value")).toBe("+3");
    expect(text_of("#direct-sum")).toBe("+3");
  });

  it("walks on with a click, and the head is selected everywhere", async () => {
    await finish();
    await answer_all();
    await act(() => document.querySelector<HTMLElement>(".why-node [data-node='L0H0@1']")!.click());
    await answer_all();
    expect(store.selection.value).toEqual({ kind: "head", layer: 0, index: 0 });
    expect(text_of("#why-node-name")).toBe("L0H0");
    expect(text_of(".why-sums")).toContain("These 1 of 1,235 edges carry +2.5 of +3 (83 %)");
    expect(store.analysis.walk.graph.value?.edges.map((edge) => edge.weight)).toEqual([2.5, 2.5, -1.5]);
  });

  it("says the server's sentence where the question cannot be answered, and asks anew when it is changed", async () => {
    await finish();
    const { request_id } = source.last("request_overview");
    const message = "The target is not in the vocabulary.";
    source.say({ type: "error_report", code: "bad_question", message, request_id, run_id: "run-1" });
    await settle();
    expect(text_of(".why-status")).toBe(message);
    state.why.target.value = " b";
    await settle();
    expect(source.last("request_overview").metric.target).toBe(" b");
  });

  it("asks about the logit anew when only the distractor is another", async () => {
    await finish();
    await answer_all();
    state.why.distractor.value = " c";
    await settle();
    expect(source.last("request_attribution").metric.distractor).toBe(" c");
  });

  it("gives up what is being worked out when it is closed, and asks again when it is opened", async () => {
    await finish();
    const { request_id } = source.last("request_overview");
    state.tab.value = "next";
    await settle();
    const cancelled = source.sent.flatMap((sent) => (sent.type === "cancel_analysis" ? [sent.cancels] : []));
    expect(cancelled).toContain(request_id);
    expect(store.display_channel.value).toBe("activation");
    await act(() => void (state.tab.value = "why"));
    await settle();
    expect(asked("request_overview")).toBe(2);
    await answer_all();
    expect(text_of("#metric-value")).toBe("+3");
  });

  it("measures a node at an earlier token at every token up to the question's, and says so", async () => {
    await finish();
    await answer_all();
    await act(() => document.querySelector<HTMLElement>(".why-node [data-node='L0H0@1']")!.click());
    await answer_all();
    await act(() => document.querySelector<HTMLElement>(".why-node-head .why-measure")!.click());
    const sent = source.last("request_effects");
    expect(sent).toMatchObject({ scope: "listed", ablation: "zero", everywhere: true, components: [{ kind: "head", layer: 0, index: 0 }] });
    source.say({
      type: "effects_ready", request_id: sent.request_id, run_id: "run-1", metric: METRIC, scope: "listed", ablation: "zero",
      everywhere: true, components: sent.components, effects: floats([1], 1.25), probs: floats([1], 0.25), clean_prob: 0.5,
      attributed: floats([1], 1.5), spearman: null, sign_agreement: null, secs: 0.1,
    });
    await settle();
    expect(text_of(".why-node-head .why-measured")).toBe("attributed +1.5 · measured +1.25 everywhere, 50.0 % → 25.0 %");
  });

  it("forgets everything when the run is rewound to before the question", async () => {
    await finish();
    await answer_all();
    source.say({ type: "run_rewound", run_id: "run-1", from_pos: 1, n_tokens: 2, text: "", revision: 1 });
    await settle();
    expect(store.analysis.overview.slot.value.answer).toBeNull();
    expect(store.analysis.walk.node.value).toBe("logit@0"); // the shown token is asked about anew
    expect(source.last("request_overview").metric.pos).toBe(0);
  });
});

describe("the contributions", () => {
  it("are sorted by size, sum to the metric, and count no neuron twice", () => {
    const list = contributions_of(overview(1));
    expect(list[0]).toMatchObject({ name: "L0N2", value: -2, is_inside: true });
    expect(list.map((one) => Math.abs(one.value))).toEqual(list.map((one) => Math.abs(one.value)).sort((a, b) => b - a));
    const counted = list.filter((one) => !one.is_inside).reduce((sum, one) => sum + one.value, 0);
    expect(counted).toBeCloseTo(sums_of(overview(1)).all, 6);
    expect(sums_of(overview(1)).all).toBeCloseTo(3, 6);
  });
});
