// The causal map as values of components: what was measured, what attribution says, and how far they are apart.
import { signal, type Signal } from "@preact/signals";
import type { Metric, ModelInfo } from "../protocol/generated";
import type { EffectsAnswer } from "../protocol/questions";
import { no_values, pair_unit } from "./signed_values";
import type { SignedValues } from "./types";

export type CausalView = "measured" | "attributed" | "difference";

const SCOPE_WORDS: Record<EffectsAnswer["scope"], string> = {
  heads: "heads", attn: "attention", mlps: "MLPs", neurons: "neurons", listed: "listed",
};
const TITLES: Record<CausalView, string> = {
  measured: "Measured effect", attributed: "Attributed effect", difference: "Measured − attributed",
};

export class CausalMaps {
  readonly view: Signal<CausalView> = signal("measured");
  /** One a scope, all of one question and one kind of ablation. */
  readonly answers: Signal<readonly EffectsAnswer[]> = signal([]);

  /** One more scope is measured; what was measured otherwise before is not shown together with it. */
  keep(answer: EffectsAnswer): void {
    const kept = this.answers.peek().filter((other) => is_alike(other, answer) && other.scope !== answer.scope);
    this.answers.value = [...kept, answer];
  }

  clear(): void {
    if (this.answers.peek().length > 0) this.answers.value = [];
  }
}

function is_alike(a: EffectsAnswer, b: EffectsAnswer): boolean {
  return a.run_id === b.run_id && a.ablation === b.ablation && a.everywhere === b.everywhere
    && a.metric.pos === b.metric.pos && a.metric.target_id === b.metric.target_id
    && a.metric.distractor_id === b.metric.distractor_id;
}

type Shape = Pick<ModelInfo, "n_layers" | "n_heads" | "d_mlp">;
const MADE = new WeakMap<readonly EffectsAnswer[], Map<string, SignedValues>>();
const NOTHING = no_values("causal", {
  title: "Measured effect", unit: "logits",
  note: "Nothing is measured for this token yet: the Causal map tab below measures it.",
});
const ELSEWHERE = new Map<number, SignedValues>();

/** What is shown of the maps at `pos`; the same object as long as nothing changes. */
export function causal_values(maps: CausalMaps, pos: number, shape: Shape): SignedValues {
  const answers = maps.answers.value;
  const view = maps.view.value;
  const metric = answers[0]?.metric;
  if (!metric) return NOTHING;
  if (metric.pos !== pos) return elsewhere(metric.pos);
  const made = MADE.get(answers) ?? new Map<string, SignedValues>();
  MADE.set(answers, made);
  const key = `${view} ${shape.n_layers} ${shape.n_heads} ${shape.d_mlp}`;
  let values = made.get(key);
  if (!values) made.set(key, (values = laid_out(answers, metric, view, shape)));
  return values;
}

function elsewhere(pos: number): SignedValues {
  let values = ELSEWHERE.get(pos);
  if (!values) {
    const note = `Measured after position ${pos}: choose that token to see it.`;
    ELSEWHERE.set(pos, (values = { ...NOTHING, note }));
  }
  return values;
}

function laid_out(answers: readonly EffectsAnswer[], metric: Metric, view: CausalView, shape: Shape): SignedValues {
  const { n_layers, n_heads, d_mlp } = shape;
  const unknown = (n: number): Float32Array => new Float32Array(n).fill(Number.NaN);
  const held = { head: unknown(n_layers * n_heads), attn: unknown(n_layers), mlp: unknown(n_layers) };
  const [cells, sizes]: [number[], number[]] = [[], []];
  for (const answer of answers) {
    answer.components.forEach(({ kind, layer, index }, i) => {
      const value = value_of(answer, i, view);
      if (kind === "neuron") {
        cells.push(layer * d_mlp + index);
        sizes.push(value);
      } else held[kind][kind === "head" ? layer * n_heads + index : layer] = value;
    });
  }
  return {
    of: "causal", title: TITLES[view], unit: pair_unit(metric), note: note_of(answers, view),
    heads: held.head, attn: held.attn, mlps: held.mlp,
    neurons: { at: Uint32Array.from(cells), values: Float32Array.from(sizes) },
  };
}

function value_of(answer: EffectsAnswer, i: number, view: CausalView): number {
  const measured = answer.effects.values[i] ?? Number.NaN;
  const attributed = answer.attributed?.values[i] ?? Number.NaN;
  return view === "measured" ? measured : view === "attributed" ? attributed : measured - attributed;
}

const NOTES: Record<CausalView, string> = {
  measured: "Orange helps, blue holds back: what was lost with that part alone switched off.",
  attributed: "Orange helps, blue holds back: what attribution says of the same parts.",
  difference: "Orange: measured above attributed; blue: below.",
};

function note_of(answers: readonly EffectsAnswer[], view: CausalView): string {
  return `${NOTES[view]} No colour: zero, or not measured. ${rank_words(answers)}`;
}

/** The rank correlations of measured and attributed, a scope each. */
export function rank_words(answers: readonly EffectsAnswer[]): string {
  const known = answers.filter(({ spearman }) => spearman !== null);
  if (known.length === 0) return "No rank correlation: attribution says nothing of these parts.";
  const each = known.map(({ scope, spearman }) => `${SCOPE_WORDS[scope]} ${spearman!.toFixed(2).replace("-", "−")}`);
  return `Rank correlation (Spearman) of measured and attributed: ${each.join(", ")}.`;
}
