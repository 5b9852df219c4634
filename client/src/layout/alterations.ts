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

const STRONGEST: readonly Alteration[] = ["off", "replaced", "attention", "scaled"];

export interface Altered {
  components: { component: Component; how: Alteration }[];
  places: { place: StreamPlace; how: Alteration }[];
}

/** Everything that the enabled ones among `specs` change, each component once, by what changes it most. */
export function alterations(specs: readonly InterventionSpec[]): Altered {
  const found = new Map<string, { component: Component; how: Alteration }>();
  const places: Altered["places"] = [];
  for (const spec of specs.filter(({ enabled }) => enabled)) {
    const how = alteration_of(spec);
    for (const place of spec.stream ?? []) places.push({ place, how });
    for (const component of spec.components) {
      const key = component_key(component);
      const held = found.get(key);
      if (!held || STRONGEST.indexOf(how) < STRONGEST.indexOf(held.how)) found.set(key, { component, how });
    }
  }
  return { components: [...found.values()], places };
}
