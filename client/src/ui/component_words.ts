import type { Component } from "../protocol/generated";

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
