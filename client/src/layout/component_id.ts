// Component ids people read: `L12H3`, `L7N1404`, `L5.attn`, `L5.mlp`.
import type { Component } from "../protocol/generated";

/** The id of a component, as TransformerLens users write it. */
export function component_id(component: Component): string {
  switch (component.kind) {
    case "head":
      return `L${component.layer}H${component.index}`;
    case "neuron":
      return `L${component.layer}N${component.index}`;
    default:
      return `L${component.layer}.${component.kind}`;
  }
}

const KEY = /^(attn|head|mlp|neuron):(\d{1,9}):(\d{1,9})$/;

/** The component that a store key `kind:layer:index` names, or null. */
export function component_of_key(key: string): Component | null {
  const match = KEY.exec(key);
  if (!match) return null;
  return { kind: match[1] as Component["kind"], layer: Number(match[2]), index: Number(match[3]) };
}
