import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { hash_keys } from "./page_hash";
import { has_view, view_of, with_view, type ViewState } from "./view_state";

const FRESH: ViewState = {
  selection: null, pos: null, channel: "activation", layer_range: null, is_from_twin: false, preset: "three_quarter", pose: null,
  interventions: [], prompt: null,
};
const SPEC = view_of(`#set=${encodeURIComponent(JSON.stringify([
  { intervention_id: "L12H3", operation: "zero", components: [{ kind: "head", layer: 12, index: 3 }] },
  { intervention_id: "half", operation: "scale", components: [{ kind: "mlp", layer: 5, index: 0 }], amount: 0.5, enabled: false },
]))}`).interventions;

describe("the view in an address", () => {
  it("comes back as it went in", () => {
    const view: ViewState = {
      selection: { kind: "neuron", layer: 7, index: 1404 }, pos: 37, channel: "direct_logit", is_from_twin: true, preset: "time",
      layer_range: { first_layer: 8, last_layer: 14 },
      pose: [1.25, -2, 3.5, 0, 0.125, 4], interventions: SPEC, prompt: "a & b = \u2603#",
    };
    expect(SPEC.length).toBe(2);
    expect(view_of(with_view("", view))).toEqual({ ...view, preset: "three_quarter" }); // the pose says where
    expect(view_of(with_view("", { ...view, pose: null }))).toEqual({ ...view, pose: null });
    for (const selection of [{ kind: "head", layer: 0, index: 0 }, { kind: "attn", layer: 3, index: 0 }] as const) {
      expect(view_of(with_view("", { ...FRESH, selection })).selection).toEqual(selection);
    }
  });

  it("names any range of layers by its first and last", () => {
    fc.assert(fc.property(fc.nat(999_999), fc.nat(999_999), (a, b) => {
      const layer_range = { first_layer: Math.min(a, b), last_layer: Math.max(a, b) };
      const hash = with_view("#run=abc", { ...FRESH, layer_range });
      expect(hash_keys(hash).get("layers")).toBe(`${layer_range.first_layer}-${layer_range.last_layer}`);
      expect(view_of(hash)).toEqual({ ...FRESH, layer_range });
    }));
  });

  it("leaves the run's key and out what is as on a fresh page", () => {
    expect(with_view("#run=abc", FRESH)).toBe("#run=abc");
    expect(with_view("", FRESH)).toBe("");
    expect(has_view("#run=abc")).toBe(false);
    const moved = with_view("#run=abc&sel=L1H1&prompt=x", { ...FRESH, pos: 3 });
    expect(new URLSearchParams(moved.slice(1)).get("run")).toBe("abc");
    expect(view_of(moved)).toEqual({ ...FRESH, pos: 3 });
  });

  it("is never more than a fresh page's where the text is nonsense", () => {
    for (const hash of ["#sel=L1", "#pos=-1", "#pos=9e9", "#show=all", "#layers=14-8", "#layers=3", "#layers=-1-4", "#layers=1e1-20", "#layers=0-99999999", "#view=up", "#cam=1,2,3", "#cam=1,2,3,4,5,1e99",
      "#set=[", '#set={"a":1}', '#set=[{"operation":3}]', "#set=[null]", "#%E0%A4%A"]) {
      expect(view_of(hash), hash).toEqual(FRESH);
    }
  });

  it("reads any text without falling over", () => {
    fc.assert(fc.property(fc.string(), (text) => {
      expect(view_of(`#${text}`).channel).toBeDefined();
      expect(view_of(`#set=${text}&cam=${text}&sel=${text}&pos=${text}&layers=${text}`).preset).toBe("three_quarter");
    }));
  });
});
