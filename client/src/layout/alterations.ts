// How each component is changed, as one of a few kinds that the picture tells apart by shape.
import type { Component, InterventionSpec, StreamPlace } from "../protocol/generated";
import { component_key } from "../store/store";

/** off: it writes nothing. scaled: more or less of what it writes. replaced: something else. attention: it looks
 * elsewhere. added, removed: a direction, in the residual stream. */
export type Alteration = "off" | "scaled" | "replaced" | "attention" | "added" | "removed";

/** What an intervention does to its components, or to the stream. */
export function alteration_of({ operation, amount }: Pick<InterventionSpec, "operation" | "amount">): Alteration {
  switch (operation) {
    case "zero":
      return "off";
    case "scale":
      return amount === 0 ? "off" : "scaled";
    case "add_direction":
      return "added";
    case "project_out":
      return "removed";
    case "mean":
    case "resample":
    case "set":
    case "rank_one_edit":
      return "replaced";
    default:
      return "attention";
  }
}

export interface Altered {
  components: { component: Component; how: Alteration }[];
  places: { place: StreamPlace; how: Alteration }[];
}

/** What is seen of two changes of one component, `then` acting on what `first` has left. */
function combined(first: Alteration | undefined, then: Alteration): Alteration {
  if (!first || then === "off" || then === "replaced") return then;
  return first === "scaled" ? then : first;
}

/** Everything that the enabled ones among `specs` change, in their order; each component once. */
export function alterations(specs: readonly InterventionSpec[]): Altered {
  const found = new Map<string, { component: Component; how: Alteration }>();
  const places: Altered["places"] = [];
  for (const spec of specs.filter(({ enabled }) => enabled)) {
    const how = alteration_of(spec);
    for (const place of spec.stream ?? []) places.push({ place, how });
    for (const component of spec.components) {
      const key = component_key(component);
      found.set(key, { component, how: combined(found.get(key)?.how, how) });
    }
  }
  return { components: [...found.values()], places };
}
