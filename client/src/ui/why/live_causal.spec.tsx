// @vitest-environment jsdom
import { act } from "preact/test-utils";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { HELLO, snapshot, step, type FakeSource } from "../../connection/fake_source";
import type { Hello } from "../../protocol/generated";
import { live_effects, live_history } from "../../store/live_causal";
import type { Store } from "../../store/store";
import type { StepRecord } from "../../store/types";
import type { PageState } from "../page";
import { close_page, open_page, text_of } from "../page_harness";

const MEASURED: StepRecord["tensors"] = {
  causal_kind: { shape: [3], values: new Uint8Array([1, 0, 0]) },
  causal_layer: { shape: [3], values: new Uint16Array([1, 0, 1]) },
  causal_index: { shape: [3], values: new Uint32Array([0, 1, 0]) },
  causal_attributed: { shape: [3], values: new Float32Array([2.5, -1.5, 1]) },
  causal_measured: { shape: [3], values: new Float32Array([1.25, 0.5, 2]) },
};

function hello(channels: string[], missing: Hello["model_info"]["capabilities"]["missing"] = []): Hello {
  const { capabilities } = HELLO.model_info;
  const given = { ...capabilities, channels: channels as typeof capabilities.channels, missing };
  return { ...HELLO, model_info: { ...HELLO.model_info, capabilities: { ...given, analyses: ["overview"] } } };
}

let store: Store;
let state: PageState;
let source: FakeSource;
let settle: () => Promise<void>;

async function open(greeting: Hello): Promise<void> {
  const prepare = (page: PageState): void => void (page.tab.value = "why");
  ({ store, state, source, settle } = await open_page({ hello: greeting, prepare }));
  await act(() => source.say({ type: "run_started", request_id: 999, run: snapshot() }));
  await settle();
}

afterEach(close_page);

const live_switch = (): HTMLButtonElement => document.querySelector<HTMLButtonElement>("#live-causal")!;
const rows = (): string[][] => [...document.querySelectorAll(".live-causal tbody tr")].map((row) =>
  [...row.querySelectorAll("button, .why-number")].map((cell) => cell.textContent ?? ""));

describe("live causal", () => {
  beforeEach(() => open(hello(["heads", "direct_logit", "causal_effects"])));

  it("is asked for only while the switch is on", async () => {
    expect(source.last("subscribe").channels).toEqual(["heads", "direct_logit"]);
    await act(() => live_switch().click());
    await settle();
    expect(source.last("subscribe").channels).toEqual(["heads", "direct_logit", "causal_effects"]);
    expect(live_switch().getAttribute("aria-checked")).toBe("true");
    expect(state.why.view.value).toBe("live");
    const sent = source.sent.length;
    await act(() => live_switch().click());
    await settle();
    expect(source.sent.length).toBe(sent + 1);
    expect(source.last("subscribe").channels).toEqual(["heads", "direct_logit"]);
  });

  it("lists what was attributed and measured of the shown token, and counts the opposites", async () => {
    await act(() => live_switch().click());
    source.say(step(1, { tensors: MEASURED, direct_target_id: 3, chosen_id: 3, chosen_text: " x" }));
    await settle();
    expect(rows()).toEqual([["L1.mlp", "+2.5", "+1.25"], ["L0H1", "−1.5", "+0.5"], ["L1H0", "+1", "+2"]]);
    expect(text_of(".why-view .why-sums")).toContain("the logit of “ x” above the mean of all");
    expect(text_of(".why-view .why-sums")).toContain("1 of 3 measured against the attributed sign");
  });

  it("selects a component with a click, and shows it over the tokens", async () => {
    await act(() => live_switch().click());
    source.say(step(1, { tensors: MEASURED }));
    source.say(step(2, { tensors: MEASURED }));
    await settle();
    await act(() => document.querySelector<HTMLElement>(".live-causal tbody tr:nth-child(2) button")!.click());
    await settle();
    expect(store.selection.value).toEqual({ kind: "head", layer: 0, index: 1 });
    expect(text_of(".live-over h3")).toContain("L0H1 over 2 tokens");
    expect(live_history(store, { kind: "head", layer: 0, index: 1 })).toEqual(new Map([[1, 0.5], [2, 0.5]]));
  });

  it("says why a token has none", async () => {
    await act(() => void (state.why.view.value = "live"));
    expect(text_of(".why-view")).toContain("Switch Live causal on");
    await act(() => live_switch().click());
    source.say(step(1));
    await settle();
    expect(text_of(".why-view")).toContain("was not measured as it was made");
    expect(live_effects(store.history.get(1))).toBeNull();
  });

  it("answers to the key m", async () => {
    const press = (): Promise<void> => act(() => void window.dispatchEvent(new KeyboardEvent("keydown", { key: "m" })));
    await press();
    expect(store.is_measuring_live.value).toBe(true);
    await press();
    expect(store.is_measuring_live.value).toBe(false);
  });
});

describe("live causal where a model answers no questions", () => {
  it("can be switched on all the same", async () => {
    const given = hello(["heads", "causal_effects"]);
    given.model_info.capabilities.missing_analyses = [{ analysis: "overview", reason: "it only moves" }];
    await open(given);
    expect(text_of(".why-question")).toContain("cannot be asked why: it only moves");
    await act(() => live_switch().click());
    source.say(step(1, { tensors: MEASURED }));
    await settle();
    expect(rows()).toHaveLength(3);
  });
});

describe("live causal where a model has none", () => {
  it("says why, and cannot be switched on", async () => {
    await open(hello(["heads"], [{ channel: "causal_effects", reason: "its layers cannot be begun in the middle" }]));
    expect(live_switch().disabled).toBe(true);
    await act(() => void window.dispatchEvent(new KeyboardEvent("keydown", { key: "m" })));
    expect(store.is_measuring_live.value).toBe(false);
    await act(() => void (state.why.view.value = "live"));
    expect(text_of(".why-view")).toBe("This model is not measured as it writes: its layers cannot be begun in the middle.");
  });
});
