import { describe, expect, it } from "vitest";
import type { AppliedInterventions, Component, InterventionSpec } from "../protocol/generated";
import { toggled, with_factor } from "../store/interventions";
import { effective_since, factor_on } from "../store/query";
import type { RunView } from "../store/types";
import { number_text, percent_text, signed_text, token_label, word_label } from "./format";
import { create_run_form, read_settings } from "./run/run_form";

const HEAD: Component = { kind: "head", layer: 12, index: 3 };
const OTHER: Component = { kind: "neuron", layer: 0, index: 7 };

describe("switching a component", () => {
  it("adds a zero on it alone, then switches that off, then on again", () => {
    const on = toggled([], HEAD);
    expect(on).toEqual([{ intervention_id: "L12H3", operation: "zero", components: [HEAD], amount: 0, enabled: true }]);
    const off = toggled(on, HEAD);
    expect(off.map((spec) => spec.enabled)).toEqual([false]);
    expect(toggled(off, HEAD)).toEqual(on);
  });

  it("leaves others alone and never uses an id twice", () => {
    const group: InterventionSpec = { intervention_id: "L12H3", operation: "scale", components: [HEAD, OTHER], amount: 2, enabled: true };
    const both = toggled([group], HEAD);
    expect(both[0]).toBe(group);
    expect(both[1]?.intervention_id).toBe("L12H3.2");
    expect(factor_on(both, HEAD)).toBe(0);
    expect(factor_on(both, OTHER)).toBe(2);
  });

  it("scales in place; a factor of 1 leaves no entry", () => {
    const on = toggled(toggled([], HEAD), OTHER);
    const scaled = with_factor(on, HEAD, 0.5);
    expect(scaled.map((spec) => [spec.intervention_id, spec.operation, spec.amount])).toEqual([
      ["L12H3", "scale", 0.5], ["L0N7", "zero", 0],
    ]);
    expect(with_factor(scaled, HEAD, 0)[0]?.operation).toBe("zero");
    expect(with_factor(scaled, HEAD, 1).map((spec) => spec.intervention_id)).toEqual(["L0N7"]);
  });

  it("nothing touched has no factor", () => {
    expect(factor_on([], HEAD)).toBeNull();
    expect(factor_on(toggled(toggled([], HEAD), HEAD), HEAD)).toBeNull();
  });
});

describe("from where an intervention holds", () => {
  const [spec] = toggled([], HEAD);
  const entry = (revision: number, from_pos: number, interventions: InterventionSpec[], mode: AppliedInterventions["mode"] = "from_now") =>
    ({ revision, from_pos, mode, interventions, author: "me" });
  const run = (log: AppliedInterventions[]): RunView => ({ intervention_log: log }) as RunView;

  it("is the first revision that has it in its present form without a break", () => {
    const more = toggled([spec!], OTHER);
    expect(effective_since(run([entry(0, 0, []), entry(1, 9, [spec!]), entry(2, 12, more)]), spec!)).toEqual({ from_pos: 9, revision: 1, author: "me" });
    const off = { ...spec!, enabled: false };
    const log = [entry(1, 5, [spec!]), entry(2, 8, [off]), entry(3, 11, [spec!])];
    expect(effective_since(run(log), spec!)).toEqual({ from_pos: 11, revision: 3, author: "me" });
    expect(effective_since(run(log.slice(0, 2)), off)).toEqual({ from_pos: 8, revision: 2, author: "me" });
  });

  it("is where the recompute began", () => {
    expect(effective_since(run([entry(1, 9, [spec!]), entry(2, 0, [spec!], "recompute")]), spec!)).toEqual({ from_pos: 0, revision: 2, author: "me" });
  });

  it("is unknown until the server has said", () => {
    expect(effective_since(run([entry(0, 0, [])]), spec!)).toBeNull();
    expect(effective_since(null, spec!)).toBeNull();
  });
});

describe("the form", () => {
  it("becomes a command; greedy leaves the sampler's fields out", () => {
    const form = create_run_form();
    form.temperature.value = "1.5";
    expect(read_settings(form)).toMatchObject({ sampling: { temperature: 0, top_k: 0, top_p: 1 }, target_token: null });
    form.greedy.value = false;
    form.target_token.value = " Mary";
    expect(read_settings(form)).toMatchObject({ sampling: { temperature: 1.5, top_p: 0.95 }, target_token: " Mary" });
  });

  it.each([
    ["prompt", "  ", /prompt is empty/],
    ["temperature", "warm", /Temperature must be a number/],
    ["temperature", "Infinity", /Temperature/],
    ["top_k", "1.5", /Top-k must be a whole number/],
    ["top_p", "0", /Top-p/],
    ["seed", "-1", /Seed/],
    ["max_new_tokens", "", /Length/],
  ] as const)("refuses %s %j with one clear sentence", (field, text, message) => {
    const form = create_run_form();
    form[field].value = text;
    expect(read_settings(form)).toMatch(message);
  });
});

describe("words and numbers", () => {
  it("white space is seen and hostile text stays text", () => {
    expect(token_label("\n")).toBe("↵");
    expect(token_label("  ")).toBe("␣␣");
    expect(token_label("")).toBe("∅");
    expect(token_label("<img src=x onerror=alert(1)>")).toBe("<img src=x onerror=alert(1)>");
    expect(word_label(" Mary")).toBe("Mary");
    expect(word_label(" ")).toBe("␣");
  });

  it("numbers are short and say what they are", () => {
    expect(number_text(null)).toBe("–");
    expect(number_text(Number.NaN)).toBe("not finite");
    expect(number_text(-0.12345)).toBe("−0.123");
    expect(number_text(12345)).toBe("12345");
    expect(signed_text(0.5)).toBe("+0.5");
    expect(signed_text(0)).toBe("0");
    expect(percent_text(0.9231)).toBe("92.3 %");
    expect(percent_text(1e-6)).toBe("<0.1 %");
  });
});
