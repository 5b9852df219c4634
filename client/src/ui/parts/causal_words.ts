// The causal map in words: what was measured, and how far attribution agrees with it.
import { component_id } from "../../layout/component_id";
import type { Component, Metric } from "../../protocol/generated";
import type { EffectsAnswer } from "../../protocol/questions";
import { count_text, number_text, percent_text, signed_text, token_quote } from "../format";
import type { CausalScope } from "./parts_state";

export const SCOPES: readonly { scope: CausalScope; label: string; unit: string }[] = [
  { scope: "heads", label: "all heads", unit: "heads" },
  { scope: "attn", label: "attention layers", unit: "attention layers" },
  { scope: "mlps", label: "MLPs", unit: "MLPs" },
  { scope: "neurons", label: "strongest neurons", unit: "neurons" },
];

function unit_of(scope: EffectsAnswer["scope"]): string {
  return SCOPES.find((item) => item.scope === scope)?.unit ?? "components";
}

/** `logit(“ Mary”) − logit(“ John”) after 14`. */
export function metric_words(metric: Metric): string {
  const against = metric.distractor_text === null ? "the mean of all logits" : `logit(${token_quote(metric.distractor_text)})`;
  return `logit(${token_quote(metric.target_text)}) − ${against} after position ${metric.pos}`;
}

export function measured_words(answer: EffectsAnswer): string {
  const where = answer.everywhere ? "at every token up to it" : "at that token";
  const how = answer.ablation === "zero" ? "set to zero" : "set to its mean over earlier tokens";
  return `${count_text(answer.components.length)} ${unit_of(answer.scope)}, each ${how} ${where}, `
    + `in ${number_text(answer.secs, 2)} s. ${metric_words(answer.metric)} is ${signed_text(answer.metric.value)} and `
    + `${token_quote(answer.metric.target_text)} has ${percent_text(answer.clean_prob)} when nothing is ablated.`;
}

const ALIKE: readonly { from: number; words: string }[] = [
  { from: 0.8, words: "almost the same order" },
  { from: 0.5, words: "a similar order" },
  { from: 0.2, words: "a loosely similar order" },
  { from: -0.2, words: "unrelated orders" },
  { from: -1, words: "opposite orders" },
];

/** How far what was attributed agrees with what was measured. */
export function agreement_words(answer: EffectsAnswer): string {
  const { spearman, sign_agreement, attributed } = answer;
  if (!attributed) return "Attribution says nothing of these components: there is nothing to compare.";
  const rank = spearman === null ? "Too few components for a rank correlation."
    : `Measured and attributed put them in ${ALIKE.find(({ from }) => spearman >= from)?.words ?? "opposite orders"}: `
      + `Spearman correlation ${number_text(spearman, 2)} (1 the same, 0 unrelated).`;
  if (sign_agreement === null) return rank;
  const n = Math.min(10, answer.components.length);
  return `${rank} Of the ${n} strongest attributed, ${Math.round(sign_agreement * n)} have the measured sign.`;
}

export interface MeasuredRow {
  component: Component;
  id: string;
  /** How much the metric falls when it is ablated. */
  effect: number;
  attributed: number | null;
  /** The target's probability then. */
  prob: number;
}

/** What was measured, strongest first. */
export function measured_rows(answer: EffectsAnswer): MeasuredRow[] {
  return answer.components
    .map((component, i) => ({
      component,
      id: component_id(component),
      effect: answer.effects.values[i] ?? Number.NaN,
      attributed: answer.attributed?.values[i] ?? null,
      prob: answer.probs.values[i] ?? Number.NaN,
    }))
    .sort((a, b) => Math.abs(b.effect) - Math.abs(a.effect));
}
