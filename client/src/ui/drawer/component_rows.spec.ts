import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { component_id } from "../../layout/component_id";
import { activation_of } from "../../store/query";
import { component_key } from "../../store/store";
import type { StepRecord } from "../../store/types";
import { ComponentRows, parse_search } from "./component_rows";

const SHAPE = { n_layers: 3, n_heads: 2, d_mlp: 4 };
const rows = new ComponentRows(SHAPE);
const ids = (list: readonly number[] | null): string[] => (list ?? []).map((row) => component_id(rows.component(row)));

const STEP: StepRecord = {
  pos: 0, seq: 0, token_id: 0, text: "", chosen_id: null, chosen_text: null, generated: false, top_tokens: [],
  logprob: null, entropy: null, revision: 0, lens_texts: null, direct_target_id: null, direct_distractor_id: null,
  detail_dropped: false,
  tensors: {
    neurons: { shape: [3, 4], values: Int8Array.from([127, 0, -64, 1, 2, 3, 4, 5, -128, 0, 0, -127]) },
    neurons_scale: { shape: [3], values: Float32Array.from([1, 1, 8]) },
    heads: { shape: [3, 2], values: Float32Array.from([0.5, 2, 3, 0.1, 0.2, 0.3]) },
    direct_heads: { shape: [3, 2], values: Float32Array.from([-1, 2, 0.5, 0, 0.25, -3]) },
    direct_neuron_layer: { shape: [1], values: Uint16Array.from([2]) },
    direct_neuron_index: { shape: [1], values: Uint32Array.from([3]) },
    direct_neuron_value: { shape: [1], values: Float32Array.from([1.5]) },
  },
};

describe("rows", () => {
  it("number every component once, and back", () => {
    const all = Array.from({ length: rows.n_rows }, (_, row) => rows.component(row));
    expect(new Set(all.map(component_key)).size).toBe(3 * (2 + 2 + 4));
    all.forEach((component, row) => expect(rows.row(component)).toBe(row));
  });

  it("are found by what people write", () => {
    const find = (search: string) => ids(rows.select("all", search, new Set()));
    expect(find("L1H1")).toEqual(["L1H1"]);
    expect(find(" l1 h ")).toEqual(["L1H0", "L1H1"]);
    expect(find("L2N3")).toEqual(["L2N3"]);
    expect(find("L0.attn")).toEqual(["L0.attn"]);
    expect(find("mlp")).toEqual(["L0.mlp", "L1.mlp", "L2.mlp"]);
    expect(find("H1")).toEqual(["L0H1", "L1H1", "L2H1"]);
    expect(find("L1")).toHaveLength(8);
    expect(find("L9")).toEqual([]);
    expect(find("")).toHaveLength(24);
  });

  it("a search that means nothing is told apart from one that finds nothing", () => {
    expect(rows.select("all", "<script>", new Set())).toBeNull();
    expect(parse_search("L1H-1")).toBeNull();
  });

  it("any search text is answered", () => {
    fc.assert(fc.property(fc.string(), (search) => {
      rows.select("all", search, new Set());
    }));
  });

  it("are filtered by kind, and by what was changed", () => {
    expect(ids(rows.select("head", "", new Set()))).toHaveLength(6);
    expect(ids(rows.select("layer", "L0", new Set()))).toEqual(["L0.attn", "L0.mlp"]);
    const touched = new Set([rows.row({ kind: "neuron", layer: 2, index: 1 }), rows.row({ kind: "head", layer: 0, index: 1 })]);
    expect(ids(rows.select("changed", "", touched))).toEqual(["L0H1", "L2N1"]);
  });

  it("are of the shown layers only, whatever else is asked for", () => {
    const range = { first_layer: 1, last_layer: 2 };
    const find = (filter: "all" | "head" | "changed", search: string, touched: readonly number[] = []) =>
      ids(rows.select(filter, search, new Set(touched), range));
    expect(find("head", "")).toEqual(["L1H0", "L1H1", "L2H0", "L2H1"]);
    expect(find("all", "mlp")).toEqual(["L1.mlp", "L2.mlp"]);
    expect(find("all", "L0")).toEqual([]);
    expect(find("all", "L2H1")).toEqual(["L2H1"]);
    expect(find("changed", "", [rows.row({ kind: "head", layer: 0, index: 1 }), rows.row({ kind: "mlp", layer: 2, index: 0 })])).toEqual(["L2.mlp"]);
  });
});

describe("sorting", () => {
  const all = rows.select("all", "", new Set())!;

  it("by value puts the largest size first, signs aside, and the unknown last", () => {
    const sorted = ids(rows.sort(all, { by: "value", descending: true }, STEP));
    expect(sorted.slice(0, 4)).toEqual(["L2N3", "L1H0", "L0H1", "L0N0"]);
    expect(sorted.slice(-7)).toContain("L2N0"); // not finite
    expect(sorted.at(-1)).toBe("L2N0");
  });

  it("by value agrees with the plain definition for any step", () => {
    fc.assert(fc.property(fc.int8Array({ minLength: 12, maxLength: 12 }), fc.boolean(), (codes, descending) => {
      const step = { ...STEP, tensors: { ...STEP.tensors, neurons: { shape: [3, 4], values: codes } } };
      const sorted = rows.sort(all, { by: "value", descending }, step);
      expect([...sorted].sort((a, b) => a - b)).toEqual(all);
      const sizes = sorted.map((row) => Math.abs(activation_of(step, rows.component(row), SHAPE) ?? NaN)).map(Math.fround);
      const known = sizes.filter((size) => !Number.isNaN(size));
      expect(sizes.slice(0, known.length)).toEqual(known);
      expect(known).toEqual([...known].sort((a, b) => (descending ? b - a : a - b)));
    }));
  });

  it("by direct logit is signed, and the unknown comes last either way", () => {
    const down = ids(rows.sort(all, { by: "direct", descending: true }, STEP));
    expect(down.slice(0, 3)).toEqual(["L0H1", "L2N3", "L0.attn"]);
    const up = ids(rows.sort(all, { by: "direct", descending: false }, STEP));
    expect(up[0]).toBe("L2H1");
    expect(up.at(-1)).toBe("L2N2");
  });
});
