import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { MetricQuestion } from "../protocol/generated";
import type { OverviewAnswer, Progress } from "../protocol/questions";
import { create_store, type Store } from "../store/store";
import { Connection } from "./connection";
import { FakeSource, HELLO, snapshot } from "./fake_source";

const METRIC: MetricQuestion = { pos: 1, target: null, distractor: null, against_mean: false };
const OVERVIEW = { type: "request_overview", metric: METRIC, n_neurons: 8 } as const;
const LINE = { shape: [3], values: new Float32Array([0, 1, 2]) };

let store: Store;
let source: FakeSource;
let connection: Connection;
let frames: (() => void)[];

function frame(): void {
  for (const due of frames.splice(0)) due();
}

function ready(request_id: number): OverviewAnswer {
  return {
    type: "overview_ready", request_id, run_id: "run-1",
    metric: { pos: 1, target_id: 1, target_text: "a", distractor_id: 2, distractor_text: "b", value: 2, notice: null },
    layer_line: LINE, direct_heads: LINE, direct_mlps: LINE, direct_bias: LINE, relevance_heads: LINE,
    relevance_mlps: LINE, embed: 0, final_bias: 0, neurons: [], neuron_values: LINE, shown: 1,
  };
}

beforeEach(async () => {
  frames = [];
  store = create_store();
  source = new FakeSource();
  connection = new Connection(store, {
    open_source: () => source,
    run_link: { read: () => null, write: () => undefined, on_change: () => undefined },
    next_frame: (callback) => frames.push(callback),
    is_hidden: () => false,
    probe: () => Promise.resolve(null),
  });
  connection.start();
  source.say(HELLO);
});
afterEach(() => connection.close());

function begin(): void {
  source.say({ type: "run_started", request_id: 999, run: snapshot() });
  frame();
}

describe("a question", () => {
  it("is answered by the event that echoes its id, and tells progress before", async () => {
    begin();
    const told: Progress[] = [];
    const asked = connection.ask_about_run(OVERVIEW, (progress) => told.push(progress));
    const { request_id, run_id } = source.last("request_overview");
    expect(run_id).toBe("run-1");
    source.say({ type: "analysis_progress", request_id, run_id, done: 3, total: 9 });
    source.say(ready(request_id + 50));
    source.say(ready(request_id));
    frame();
    expect((await asked).request_id).toBe(request_id);
    expect(told).toEqual([{ done: 3, total: 9 }]);
  });

  it("is refused in the server's words, and says so nowhere else", async () => {
    begin();
    const asked = connection.ask_about_run(OVERVIEW);
    const { request_id } = source.last("request_overview");
    const message = "Target and distractor are the same token.";
    source.say({ type: "error_report", code: "bad_question", message, request_id, run_id: "run-1" });
    frame();
    await expect(asked).rejects.toThrow(message);
    expect(store.notices.value).toEqual([]);
  });

  it("that is given up is cancelled at the server; what still comes for it is no news", async () => {
    begin();
    const giving_up = new AbortController();
    const asked = connection.ask_about_run(OVERVIEW, undefined, giving_up.signal);
    const { request_id } = source.last("request_overview");
    giving_up.abort();
    await expect(asked).rejects.toMatchObject({ code: "cancelled" });
    expect(source.last("cancel_analysis")).toMatchObject({ cancels: request_id, run_id: "run-1" });
    source.say({ type: "analysis_progress", request_id, run_id: "run-1", done: 1, total: 2 });
    source.say({ type: "error_report", code: "cancelled", message: "given up", request_id, run_id: "run-1" });
    frame();
    expect(store.notices.value).toEqual([]);
  });

  it("given up after its answer cancels nothing", async () => {
    begin();
    const giving_up = new AbortController();
    const asked = connection.ask_about_run(OVERVIEW, undefined, giving_up.signal);
    source.say(ready(source.last("request_overview").request_id));
    frame();
    await asked;
    giving_up.abort();
    expect(source.sent.some((command) => command.type === "cancel_analysis")).toBe(false);
  });

  it("ends with one sentence when the connection is lost, or was never there", async () => {
    begin();
    const asked = connection.ask_about_run(OVERVIEW);
    source.listener?.closed(1006, "");
    await expect(asked).rejects.toThrow("The connection to the server was lost.");
    await expect(connection.ask_about_run(OVERVIEW)).rejects.toThrow("no connection to the server");
  });

  it("without a run is refused here", async () => {
    await expect(connection.ask_about_run(OVERVIEW)).rejects.toThrow("There is no run yet.");
  });
});

describe("the answers held", () => {
  it("are forgotten with the run, and their question is cancelled", async () => {
    begin();
    const { analysis } = store;
    analysis.explain(METRIC);
    void analysis.overview.ask(connection.ask_about_run, OVERVIEW);
    const { request_id } = source.last("request_overview");
    source.say({ type: "run_started", request_id: 998, run: snapshot({ run_id: "run-2" }) });
    frame();
    expect(analysis.question.value).toBeNull();
    expect(analysis.overview.slot.value).toEqual({ progress: null, answer: null, error: null });
    source.say(ready(request_id));
    frame();
    await vi.waitFor(() => expect(source.last("cancel_analysis").cancels).toBe(request_id));
    expect(analysis.overview.slot.value.answer).toBeNull();
  });

  it("outlive a rewind after their position, not one at it", () => {
    begin();
    const { analysis } = store;
    analysis.explain(METRIC);
    analysis.rewound(5, 6);
    expect(analysis.question.value).toEqual(METRIC);
    analysis.rewound(1, 6);
    expect(analysis.question.value).toBeNull();
    analysis.explain(METRIC);
    analysis.rewound(2, 2); // the token that followed is gone
    expect(analysis.question.value).toBeNull();
  });

  it("are replaced by the newest question's, whichever answer comes first", async () => {
    begin();
    const { analysis } = store;
    const first = analysis.overview.ask(connection.ask_about_run, OVERVIEW);
    const first_id = source.last("request_overview").request_id;
    const second = analysis.overview.ask(connection.ask_about_run, { ...OVERVIEW, n_neurons: 9 });
    source.say(ready(first_id));
    source.say(ready(source.last("request_overview").request_id));
    frame();
    expect(await first).toBeNull();
    expect((await second)?.request_id).toBe(source.last("request_overview").request_id);
    expect(analysis.overview.slot.value.answer).toBe(await second);
  });

  it("are asked for one after the other; what nobody waits for any more is not asked", async () => {
    begin();
    const { analysis } = store;
    const about = (node: string) => ({
      type: "request_attribution", metric: METRIC, node, direction: "incoming", key_pos: null, n_edges: 4,
    }) as const;
    const asked = (): string[] => source.sent.flatMap((sent) => (sent.type === "request_attribution" ? [sent.node] : []));
    for (const node of ["logit@1", "L0H0@1", "L0H1@1"]) analysis.attributions.ask(node, connection.ask_about_run, about(node));
    expect(asked()).toEqual(["logit@1"]);
    analysis.attributions.keep_only(new Set(["L0H1@1"]));
    await vi.waitFor(() => expect(asked()).toEqual(["logit@1", "L0H1@1"]));
    expect([...analysis.attributions.slots.value.keys()]).toEqual(["L0H1@1"]);
    expect(source.last("cancel_analysis").cancels).toBe(source.sent.find((sent) => sent.type === "request_attribution")?.request_id);
  });

  it("of one kind are kept by key", async () => {
    begin();
    const { analysis } = store;
    const question = {
      type: "request_attribution", metric: METRIC, node: "logit@1", direction: "incoming", key_pos: null, n_edges: 4,
    } as const;
    analysis.attributions.ask("incoming logit@1", connection.ask_about_run, question);
    const { request_id } = source.last("request_attribution");
    source.say({ type: "error_report", code: "bad_node", message: "No such node.", request_id, run_id: "run-1" });
    frame();
    await vi.waitFor(() => expect(analysis.attributions.slots.value.get("incoming logit@1")?.error).toBe("No such node."));
    analysis.explain({ ...METRIC, pos: 0 });
    expect(analysis.attributions.slots.value.size).toBe(0);
  });
});
