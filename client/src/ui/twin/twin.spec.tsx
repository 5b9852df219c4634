// @vitest-environment jsdom
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HELLO, snapshot, step, type FakeSource } from "../../connection/fake_source";
import type { Hello, TwinStep } from "../../protocol/generated";
import type { Store } from "../../store/store";
import type { TensorName } from "../../store/types";
import type { PageState } from "../page";
import { close_page, open_page, text_of } from "../page_harness";

const CHANNELS: Hello["model_info"]["capabilities"]["channels"] = ["neurons", "heads", "difference"];
const { capabilities } = HELLO.model_info;
const GREETING: Hello = { ...HELLO, model_info: { ...HELLO.model_info, capabilities: { ...capabilities, channels: CHANNELS } } };

let store: Store;
let state: PageState;
let source: FakeSource;
let settle: () => Promise<void>;

beforeEach(async () => ({ store, state, source, settle } = await open_page({ hello: GREETING })));
afterEach(close_page);

function twin(pos: number, changes: Partial<TwinStep> = {}): TwinStep {
  return {
    token_id: pos + 1, text: ` t${pos}`, chosen_id: pos + 2, chosen_text: ` t${pos + 1}`, prefers_id: pos + 2,
    prefers_text: ` t${pos + 1}`, logprob: -2, kl: 0, entropy: 1, top_tokens: [{ token_id: pos + 2, text: ` t${pos + 1}`, prob: 0.125 }],
    ...changes,
  };
}
const heads = (name: TensorName, ...values: number[]): object => ({ [name]: { shape: [2, 2], values: Float32Array.from(values) } });

const option = (label: string): HTMLButtonElement =>
  [...document.querySelectorAll<HTMLButtonElement>(".interventions .twin-switch button")].find((one) => one.textContent === label)!;
const press = (key: string): Promise<void> =>
  act(() => void document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true })));

async function begin(): Promise<void> {
  await act(() => source.say({ type: "run_started", request_id: 999, run: snapshot({ state: "running" }) }));
  for (let pos = 0; pos < 3; pos++) source.say(step(pos));
  await settle();
}

async function switch_on(mode: "teacher_forced" | "free_running", author: string | null = "me"): Promise<void> {
  source.say({ type: "twin_changed", run_id: "run-1", mode, from_pos: 3, request_id: null, author });
  await settle();
}

describe("the clean twin's switch", () => {
  it("before a run: the next run begins with it", async () => {
    expect(source.last("subscribe").channels).toEqual(CHANNELS); // a twin's first token has its differences
    await act(() => option("Same text").click());
    await settle();
    expect(state.tab.value).toBe("twin");
    await act(() => document.getElementById("run")!.click());
    expect(source.last("start_run").twin).toBe("teacher_forced");
  });

  it("in the middle of a run: sent, said of whom, and taken back where it is refused", async () => {
    await begin();
    await act(() => option("Own text").click());
    const { mode, request_id } = source.last("set_twin");
    expect(mode).toBe("free_running");
    source.say({ type: "twin_changed", run_id: "run-1", mode, from_pos: 3, request_id, author: "me" });
    await settle();
    expect(text_of("#twin-since")).toBe("own text from position 3 on, switched by you");
    await act(() => option("Off").click());
    source.say({ type: "error_report", code: "invalid", message: "Not now.", request_id: source.last("set_twin").request_id, run_id: null });
    await settle();
    expect(option("Own text").ariaPressed ?? option("Own text").getAttribute("aria-pressed")).toBe("true");
    expect(text_of(".toasts")).toContain("Not now.");
  });

  it("goes along with another viewer, whose name is said", async () => {
    await begin();
    await switch_on("teacher_forced", "someone");
    expect(option("Same text").getAttribute("aria-pressed")).toBe("true");
    state.tab.value = "twin";
    await settle();
    expect(text_of("#twin-since")).toContain("switched by viewer some");
  });

  it("has a key, and cannot be pressed where the model has no twin", async () => {
    await begin();
    await press("t");
    expect(source.last("set_twin").mode).toBe("teacher_forced");
    await press("c"); // before its first token
    expect(store.analysis.comparison.view.value).toBe("twin");
    source.say({ ...GREETING, model_info: HELLO.model_info });
    await settle();
    expect(option("Same text").disabled).toBe(true);
    expect(option("Off").disabled).toBe(false);
  });
});

describe("the clean twin's view", () => {
  beforeEach(async () => {
    await begin();
    state.tab.value = "twin";
    await switch_on("teacher_forced");
    source.say(step(3, { twin: twin(3, { kl: 0.25 }), tensors: { ...heads("heads", 1, 2, 3, 4), ...heads("difference_heads", 0, -2, 0, 0.5) } }));
    await settle();
  });

  const rows = (): string[][] => [...document.querySelectorAll(".twin-rows .twin-row")].map((row) =>
    [...row.querySelectorAll("[role=cell]")].map((cell) => cell.textContent ?? ""));

  it("says of each token what both made of it", async () => {
    source.say(step(4, { twin: twin(4, { kl: 1.5, prefers_id: 9, prefers_text: " no" }) }));
    await settle();
    expect(rows()).toEqual([
      ["3 “ t3”", "“ t4”", "36.8 %", "13.5 %", "0.25", ""], ["4 “ t4”", "“ t5”", "36.8 %", "13.5 %", "1.5", "“ no”"],
    ]);
    expect(text_of(".twin-now")).toContain("After “ t4”: KL 1.5 nat; “ t5” has 36.8 % in this run, 13.5 % in the clean twin, which would rather say “ no”");
    const bars = [...document.querySelectorAll<HTMLElement>(".twin-kl-track i")].map((bar) => bar.style.width);
    expect(bars.map((width) => Math.round(parseFloat(width)))).toEqual([41, 100]); // square roots of 0.25 and 1.5
    await act(() => document.querySelector<HTMLButtonElement>(".twin-rows .link")!.click());
    expect(store.current_pos.value).toBe(3);
  });

  it("tints the text by KL", async () => {
    const tint = document.querySelector<HTMLButtonElement>("#twin-tint")!;
    await act(() => tint.click());
    await settle();
    const tints = [...document.querySelectorAll<HTMLElement>(".chip")].map((chip) => chip.style.getPropertyValue("--tint"));
    expect(tints).toEqual(["0%", "0%", "0%", "0%", "50%"]);
    await act(() => tint.click());
    expect(state.chip_metric.value).toBe("surprise");
  });

  it("shows two texts and where they part when the twin writes its own", async () => {
    await switch_on("free_running");
    source.say(step(4, { twin: twin(4, { chosen_id: 77, chosen_text: " else" }) }));
    await settle();
    expect(text_of("#parting")).toBe("5");
    expect(text_of(".branch-compared")).toContain("This run and its clean twin part at token 5: “ t5” (36.8 %) against “ else”");
  });

  it("shows the difference in the table and the inspector, by a button and a key", async () => {
    await press("c");
    expect(store.analysis.comparison.view.value).toBe("twin");
    state.tab.value = "components";
    store.selection.value = { kind: "head", layer: 0, index: 1 };
    await settle();
    expect(text_of(".grid-head")).toContain("Δ this − clean");
    expect(text_of("#difference-twin-value")).toBe("−2");
    expect(text_of("#other-twin-value")).toBe("4");
    expect(text_of(".compared-facts")).toContain("up to 512 tokens"); // no row of attention came: not “the same”
    const row = [...document.querySelectorAll(".grid-row")].find((one) => one.querySelector(".id")?.textContent === "L0H1")!;
    expect(row.querySelectorAll("[role=gridcell]")[2]!.textContent).toBe("−2");
    await press("c");
    expect(store.analysis.comparison.view.value).toBe("own");
  });

  it("stands beside the next tokens", async () => {
    state.tab.value = "next";
    await settle();
    expect(text_of(".clean-tokens")).toContain("Its clean twin predicts");
    expect(text_of(".clean-tokens")).toContain("KL 0.25 nat");
  });

  it("gives way to this run when the twin is switched off, and can be looked at again", async () => {
    await press("c");
    source.say({ type: "twin_changed", run_id: "run-1", mode: "off", from_pos: null, request_id: null, author: "me" });
    await settle();
    expect(store.analysis.comparison.view.value).toBe("own");
    expect(rows()).toHaveLength(1);
    await press("c");
    expect(store.analysis.comparison.view.value).toBe("twin");
  });

  it("is gone with a run that has none", async () => {
    await press("c");
    source.say({ type: "run_started", request_id: 1000, run: snapshot({ run_id: "run-2" }) });
    source.say(step(0, { run_id: "run-2" }));
    await settle();
    expect(store.analysis.comparison.view.value).toBe("own");
    expect(document.querySelector(".compared-switch")).toBeNull();
    expect(text_of(".twin")).toContain("Switch the twin on");
  });
});
