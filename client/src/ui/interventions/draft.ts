// An intervention that is being thought of: made complete before it is added to the set.
import { component_id } from "../../layout/component_id";
import type { AttentionEdit, Component, InterventionSpec, ModelInfo } from "../../protocol/generated";
import { fresh_id } from "../../store/interventions";
import type { Operation } from "./spec_words";

/** What can be done to a component; what is done to a head's attention and to the stream has panels of its own. */
export const COMPONENT_OPERATIONS: readonly Operation[] = ["zero", "scale", "mean", "resample", "set"];

/** The slider's reach; the field beside it takes everything that the wire does. */
export const AMOUNT_RANGE: Partial<Record<Operation, { min: number; max: number; step: number; name: string }>> = {
  scale: { min: -1, max: 3, step: 0.1, name: "Factor" },
  set: { min: -10, max: 10, step: 0.1, name: "Value" },
  add_direction: { min: -8, max: 8, step: 0.05, name: "Strength" },
  rank_one_edit: { min: -2, max: 2, step: 0.05, name: "Strength" },
};
export const MAX_AMOUNT = 1000;

/** Why `operation` cannot be done to these components on this model; null where it can. */
export function why_not(operation: Operation, components: readonly Component[], info: ModelInfo): string | null {
  if (!info.capabilities.operations.includes(operation)) return "This model cannot do that.";
  const kind = components.find((component) => !info.capabilities.component_kinds.includes(component.kind))?.kind;
  if (kind) return `This model cannot change a ${kind}.`;
  if (operation === "set" && components.some((component) => component.kind === "head")) {
    return "A head's values are many numbers: take its mean, another run's value, or multiply it.";
  }
  if (operation === "set" && components.some((component) => component.kind !== "neuron")) {
    return "A whole layer is put to a direction: see the Directions tab.";
  }
  return null;
}

/** A complete spec of `operation` on `components`, with the amount that changes nothing. */
export function new_spec(operation: Operation, components: readonly Component[]): InterventionSpec {
  return {
    intervention_id: "draft", operation, components: [...components], enabled: true,
    amount: operation === "scale" ? 1 : operation === "add_direction" ? 1 : 0,
    reference: operation === "mean" || operation === "resample" ? { source: operation === "mean" ? "prompt" : "text" } : null,
  };
}

/** What is wrong with the weights as they are written; null where nothing is. */
export function weights_problem({ weights = [], rest }: AttentionEdit): string | null {
  if (weights.some((weight) => !(weight >= 0 && weight <= 1000))) return "A weight is a number from 0 on.";
  const sum = weights.reduce((total, weight) => total + weight, 0);
  if (weights.length > 0 && sum <= 0) return "At least one token needs some weight.";
  return rest === "scaled" && (weights.length === 0 || sum > 1) ? "Give weights that sum to less than 1: the rest fills up." : null;
}

/** One sentence about what is missing, or null where `spec` can be sent. */
export function incomplete(spec: InterventionSpec): string | null {
  const { reference, positions } = spec;
  if (reference?.source === "text" && !reference.texts?.some((text) => text.trim() !== "")) return "Write the other text.";
  if (reference?.source === "run" && !reference.run_id) return "Choose the other run.";
  if (positions?.scope === "tokens" && !positions.token_ids?.length) return "Choose a token.";
  if (positions?.scope === "range" && typeof positions.to_pos === "number" && positions.to_pos <= (positions.from_pos ?? 0)) {
    return "The range ends before it begins.";
  }
  const weights = spec.attention ? weights_problem(spec.attention) : null;
  if (weights) return weights;
  return Number.isFinite(spec.amount) && Math.abs(spec.amount) <= MAX_AMOUNT ? null : `The amount must be from −${MAX_AMOUNT} to ${MAX_AMOUNT}.`;
}

/** `spec` with an id of its own among `taken`. */
export function named_spec(spec: InterventionSpec, taken: readonly InterventionSpec[]): InterventionSpec {
  const [first] = spec.components;
  const place = spec.stream?.[0];
  const base = first ? component_id(first) : place ? `L${place.layer}.${place.hook ?? "resid_post"}` : spec.operation;
  return { ...spec, intervention_id: fresh_id(base, taken) };
}
