import type { Component } from "../protocol/generated";
import type { StepRecord } from "../store/types";

const KIND: Record<Component["kind"], string> = {
  head: "attention head",
  neuron: "MLP neuron",
  attn: "whole attention",
  mlp: "whole MLP",
};

export function kind_name(component: Component): string {
  return KIND[component.kind];
}

/** What a component's value is. */
export function value_meaning(component: Component): string {
  switch (component.kind) {
    case "neuron":
      return "activation: what multiplies the neuron's output row (mlp.out.hook_in)";
    case "head":
      return "norm of what the head writes to the residual stream";
    default:
      return "norm of what the layer's " + (component.kind === "attn" ? "attention" : "MLP") + " writes to the stream";
  }
}

/** What the shown step's values are of: this run's, the other's, or the difference. */
export function value_name(step: StepRecord | undefined): string {
  if (step?.against === "twin") return "Δ this − clean";
  return step?.compared === "other" ? "Other run" : step?.compared === "difference" ? "This − other" : "Value";
}

/** What stands in the place of the direct contribution. */
export function direct_name(step: StepRecord | undefined): string {
  if (step?.signed?.of === "causal") return step.signed.title;
  if (step?.against === "twin") return "Direct, Δ clean";
  return step?.compared === "other" ? "Direct, other" : step?.compared === "difference" ? "Direct, difference" : "Direct logit";
}
