import { describe, expect, it } from "vitest";
import type { HeadScore, ModelInfo } from "../../protocol/generated";
import type { EffectsAnswer } from "../../protocol/questions";
import type { HostTensor, StepRecord } from "../../store/types";
import { HELLO } from "../../connection/fake_source";
import { agreement_words, measured_rows, measured_words, metric_words } from "./causal_words";
import { lay_out } from "./causal_grids";
import { filter_rows, finder_rows, sort_rows, type FinderRow } from "./finder_rows";
import { lens_at, lens_tint } from "./lens_colour";
import { largest_size } from "./paint";
import { columns_seen } from "./virtual_columns";

const INFO: ModelInfo = { ...HELLO.model_info, n_layers: 20, n_heads: 2 };
const floats = (...values: number[]): HostTensor => ({ shape: [values.length], values: new Float32Array(values) });

function score(layer: number, head_index: number, induction: number): HeadScore {
  return { layer, head_index, previous_token: 0.1, duplicate_token: 0, induction, copying: -0.5 };
}

function ids(rows: readonly FinderRow[] | null): string[] | null {
  return rows && rows.map((row) => row.id);
}

describe("the head finder's rows", () => {
  const scores = [score(1, 0, 0.2), score(18, 1, 0.9), score(1, 1, 0.2), score(10, 0, Number.NaN)];
  const heads = new Float32Array(40).fill(1);
  heads[37] = 7;
  const step = { tensors: { heads: { shape: [20, 2], values: heads } } } as unknown as StepRecord;
  const rows = finder_rows(scores, INFO, step);

  it("carry what each head does at the shown token, where it is known", () => {
    expect(rows.map(({ id, norm, direct }) => [id, norm, direct])).toEqual([
      ["L1H0", 1, null], ["L18H1", 7, null], ["L1H1", 1, null], ["L10H0", 1, null],
    ]);
    expect(finder_rows(scores, INFO, undefined)[0]?.norm).toBeNull();
  });

  it("are sorted by a score, equal ones in the network's order, unknown ones last", () => {
    const comparable = rows.slice(0, 3);
    expect(ids(sort_rows(comparable, { by: "induction", descending: true }))).toEqual(["L18H1", "L1H0", "L1H1"]);
    expect(ids(sort_rows(comparable, { by: "induction", descending: false }))).toEqual(["L1H0", "L1H1", "L18H1"]);
    expect(ids(sort_rows(rows, { by: "id", descending: true }))).toEqual(["L18H1", "L10H0", "L1H1", "L1H0"]);
    const known = rows.map((row, i) => ({ ...row, direct: i === 0 ? null : i - 2 }));
    expect(ids(sort_rows(known, { by: "direct", descending: true }))).toEqual(["L10H0", "L1H1", "L18H1", "L1H0"]);
    expect(ids(sort_rows(known, { by: "direct", descending: false }))?.at(-1)).toBe("L1H0");
  });

  it("are found while their name is being typed, and exactly once it is whole", () => {
    expect(ids(filter_rows(rows, "l1", {}))).toEqual(["L1H0", "L18H1", "L1H1", "L10H0"]);
    expect(ids(filter_rows(rows, "L1H", {}))).toEqual(["L1H0", "L1H1"]);
    expect(ids(filter_rows(rows, " L1H1 ", {}))).toEqual(["L1H1"]);
    expect(ids(filter_rows(rows, "H1", {}))).toEqual(["L18H1", "L1H1"]);
    expect(filter_rows(rows, "neuron", {})).toBeNull();
  });

  it("have at least what is asked; a direct effect by its size, and nothing unknown", () => {
    expect(ids(filter_rows(rows, "", { induction: 0.5 }))).toEqual(["L18H1"]);
    expect(ids(filter_rows(rows, "", { direct: 0 }))).toEqual([]);
    const known = rows.map((row, i) => ({ ...row, direct: i - 2 }));
    expect(ids(filter_rows(known, "", { direct: 2 }))).toEqual(["L1H0"]);
  });
});

const ANSWER: EffectsAnswer = {
  type: "effects_ready", request_id: 1, run_id: "run-1", scope: "heads", ablation: "zero", everywhere: false,
  metric: { pos: 3, target_id: 1, target_text: " a", distractor_id: 2, distractor_text: " b", value: 2, notice: null },
  components: [{ kind: "head", layer: 0, index: 1 }, { kind: "head", layer: 2, index: 0 }],
  effects: floats(0.5, -2), probs: floats(0.9, 0.95), clean_prob: 0.92, attributed: floats(0.25, -1),
  spearman: 0.65, sign_agreement: 0.5, secs: 1.234,
};

describe("the causal map", () => {
  it("lists what was measured, strongest first, each with its own numbers", () => {
    const shown = measured_rows(ANSWER).map(({ id, effect, attributed }) => [id, effect, attributed]);
    expect(shown).toEqual([["L2H0", -2, -1], ["L0H1", 0.5, 0.25]]);
    expect(measured_rows({ ...ANSWER, attributed: null })[0]?.attributed).toBeNull();
  });

  it("lays heads out by layer and head, whole layers in one row", () => {
    const laid = lay_out(ANSWER.components, 3, 2);
    expect([laid.n_rows, laid.n_columns, ...laid.index_of]).toEqual([2, 3, -1, -1, 1, 0, -1, -1]);
    const layers = lay_out([{ kind: "mlp", layer: 1, index: 0 }], 3, 2);
    expect([layers.n_rows, ...layers.index_of]).toEqual([1, -1, 0, -1]);
  });

  it("says in words what was done and how far the two agree", () => {
    expect(metric_words(ANSWER.metric)).toBe("logit(“ a”) − logit(“ b”) after position 3");
    expect(metric_words({ ...ANSWER.metric, distractor_text: null })).toContain("− the mean of all logits");
    expect(measured_words(ANSWER)).toContain("2 heads, each set to zero at that token, in 1.2 s.");
    expect(measured_words({ ...ANSWER, ablation: "mean", everywhere: true })).toContain("its mean over earlier tokens at every token up to it");
    expect(agreement_words(ANSWER)).toBe(
      "Measured and attributed put them in a similar order: Spearman correlation 0.65 (1 the same, 0 unrelated). "
      + "Of the 2 strongest attributed, 1 have the measured sign.",
    );
    expect(agreement_words({ ...ANSWER, spearman: -0.9 })).toContain("opposite orders");
    expect(agreement_words({ ...ANSWER, spearman: null, sign_agreement: null })).toContain("Too few");
    expect(agreement_words({ ...ANSWER, attributed: null })).toContain("nothing to compare");
  });

  it("scales its colours by the largest finite size", () => {
    expect(largest_size([Number.NaN, -3, 2, Infinity])).toBe(3);
    expect(largest_size([])).toBeGreaterThan(0);
  });
});

describe("the lens grid", () => {
  const step = {
    lens_texts: [" x", " y"],
    tensors: { lens_prob: floats(0.25, 1), lens_rank: floats(9, 0), lens_entropy: floats(Math.log(10), 0) },
  } as unknown as StepRecord;

  it("has no values where no lens has come", () => {
    expect(lens_at(undefined, 0)).toBeNull();
    expect(lens_at({ ...step, lens_texts: null }, 0)).toBeNull();
    expect(lens_at(step, 0)).toEqual({ text: " x", prob: 0.25, rank: 10, entropy: Math.fround(Math.log(10)) });
  });

  it("tints what is nearer to an answer more strongly, by each of its numbers", () => {
    const [far, near] = [lens_at(step, 0)!, lens_at(step, 1)!];
    expect(["prob", "rank", "entropy"].map((colour) => lens_tint(near, colour as "prob", 100))).toEqual([1, 1, 1]);
    expect(lens_tint(far, "prob", 100)).toBe(0.25);
    expect(lens_tint(far, "rank", 100)).toBeCloseTo(0.5);
    expect(lens_tint(far, "entropy", 100)).toBeCloseTo(0.5);
    expect(lens_tint({ ...far, rank: null }, "rank", 100)).toBe(0);
    expect(lens_tint({ ...far, prob: Number.NaN }, "prob", 100)).toBe(0);
  });

  it("draws only the columns that can be seen", () => {
    expect(columns_seen(0, 400, 1000, 100)).toEqual({ first: 0, n_visible: 8 });
    expect(columns_seen(50_000, 400, 1000, 100)).toEqual({ first: 498, n_visible: 8 });
    expect(columns_seen(99_600, 400, 1000, 100)).toEqual({ first: 994, n_visible: 6 });
    expect(columns_seen(0, 400, 0, 100)).toEqual({ first: 0, n_visible: 0 });
  });
});
