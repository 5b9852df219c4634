// The intervention set as a value: what one change makes of it. Nothing here knows the page or the wire.
import { component_id } from "../layout/component_id";
import { intervention } from "../protocol/event_checks";
import type { Component, InterventionSpec, Positions } from "../protocol/generated";
import { component_key } from "./store";

type Specs = readonly InterventionSpec[];

/** An id that no entry of `specs` has: `base`, or `base.2`, `base.3`, ... Bases that are too long are cut. */
export function fresh_id(base: string, specs: Specs): string {
  const short = base.slice(0, 56);
  let id = short;
  for (let n = 2; specs.some((spec) => spec.intervention_id === id); n++) id = `${short}.${n}`;
  return id;
}

/** Does `spec` multiply what its components write? Zero is a factor too. */
export const is_factor = (spec: InterventionSpec): boolean => spec.operation === "zero" || spec.operation === "scale";

/** Does what acts at `positions` act at the token `token_id` at `pos`? Of `from_now` and `all`, from where is not asked. */
export function acts_at(positions: Positions | undefined, pos: number, token_id: number | undefined): boolean {
  if (positions?.scope === "tokens") return token_id !== undefined && (positions.token_ids ?? []).includes(token_id);
  if (positions?.scope !== "range") return true;
  return pos >= (positions.from_pos ?? 0) && pos < (positions.to_pos ?? Infinity);
}

/** Those of `specs` that act at the token at `pos` of a text. */
export const acting_at = (specs: Specs, pos: number, tokens: readonly { token_id: number }[]): InterventionSpec[] =>
  specs.filter(({ positions }) => acts_at(positions, pos, tokens[pos]?.token_id));

/**
 * Is `spec` a mean over the prompt, position by position, that acts behind the prompt alone? No mean is known there, so
 * nothing is changed. `from_pos`: the first position that its set holds for.
 */
export function is_mean_of_nothing({ operation, reference, positions }: InterventionSpec, from_pos: number, n_prompt_tokens: number): boolean {
  const is_by_position = operation === "mean" && (reference?.source ?? "prompt") === "prompt" && reference?.pooled === false;
  const first = positions?.scope === "range" ? (positions.from_pos ?? 0) : positions?.scope === "all" ? 0 : from_pos;
  return is_by_position && first >= n_prompt_tokens;
}

const scales_alone = (spec: InterventionSpec, component: Component): boolean =>
  is_factor(spec) && spec.components.length === 1 && component_key(spec.components[0]!) === component_key(component);

function zero_on(component: Component, taken: Specs): InterventionSpec {
  const intervention_id = fresh_id(component_id(component), taken);
  return { intervention_id, operation: "zero", components: [component], amount: 0, enabled: true };
}

/** The set with `component` switched the other way: a factor on it alone is added, or switched. */
export function toggled(specs: Specs, component: Component): InterventionSpec[] {
  const own = specs.filter((spec) => scales_alone(spec, component));
  if (own.length === 0) return [...specs, zero_on(component, specs)];
  const enabled = !own.some((spec) => spec.enabled);
  return specs.map((spec) => (scales_alone(spec, component) ? { ...spec, enabled } : spec));
}

/** The set with `component` multiplied by `amount`; no factor of its own is left for 1. */
export function with_factor(specs: Specs, component: Component, amount: number): InterventionSpec[] {
  const others = specs.filter((spec) => !scales_alone(spec, component));
  if (amount === 1) return others;
  const spec = specs.find((own) => scales_alone(own, component)) ?? zero_on(component, specs);
  const operation = amount === 0 ? "zero" : "scale";
  const changed: InterventionSpec = { ...spec, operation, amount, enabled: true };
  return specs.includes(spec) ? specs.flatMap((own) => (own === spec ? [changed] : others.includes(own) ? [own] : []))
    : [...others, changed];
}

/** The set with `spec` in the place of the one that has its id, or at the end. */
export function with_spec(specs: Specs, spec: InterventionSpec): InterventionSpec[] {
  const at = specs.findIndex((own) => own.intervention_id === spec.intervention_id);
  return at < 0 ? [...specs, spec] : specs.map((own, i) => (i === at ? spec : own));
}

/** The set with the entry `id` acting `by` places later, or earlier where that is negative; ends are ends. */
export function moved(specs: Specs, id: string, by: number): InterventionSpec[] {
  const from = specs.findIndex((spec) => spec.intervention_id === id);
  if (from < 0) return [...specs];
  const others = specs.filter((_, i) => i !== from);
  others.splice(Math.max(0, Math.min(specs.length - 1, from + by)), 0, specs[from]!);
  return others;
}

/** Every entry switched; on again are those that `were_on` names, or all where it names none of them. */
export function with_all_enabled(specs: Specs, enabled: boolean, were_on: ReadonlySet<string>): InterventionSpec[] {
  const some = specs.some((spec) => were_on.has(spec.intervention_id));
  return specs.map((spec) => ({ ...spec, enabled: enabled && (!some || were_on.has(spec.intervention_id)) }));
}

function sorted_fields(_key: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

const forms = new WeakMap<InterventionSpec, string>();

/** Equal for two specs exactly when they say the same: neither order of fields nor a default left out says anything. */
export function spec_form(spec: InterventionSpec): string {
  let form = forms.get(spec);
  if (form === undefined) {
    form = JSON.stringify(intervention(spec, spec.intervention_id), sorted_fields);
    forms.set(spec, form);
  }
  return form;
}

export const set_form = (specs: Specs): string => specs.map(spec_form).join("\n");

const by_id = (specs: Specs): Map<string, InterventionSpec> => new Map(specs.map((spec) => [spec.intervention_id, spec]));
const same = (a: InterventionSpec | undefined, b: InterventionSpec | undefined): boolean =>
  a === b || (!!a && !!b && spec_form(a) === spec_form(b));

/** A change laid upon another set; `kept` are entries that somebody else changed since and that stay as they are. */
export interface Merge {
  specs: InterventionSpec[];
  kept: string[];
}

/**
 * What `current` becomes when the change from `from` to `to` is made to it: only entries that this change touches
 * are touched, and of those only the ones that are still as `from` has them.
 */
export function merge_change(current: Specs, from: Specs, to: Specs): Merge {
  const [is, was, wanted] = [by_id(current), by_id(from), by_id(to)];
  const kept: string[] = [];
  let specs = [...current];
  for (const id of new Set([...was.keys(), ...wanted.keys()])) {
    const [before, after, now] = [was.get(id), wanted.get(id), is.get(id)];
    if (same(before, after) || same(now, after)) continue;
    if (!same(now, before)) kept.push(id);
    else if (!after) specs = specs.filter((spec) => spec.intervention_id !== id);
    else if (now) specs = with_spec(specs, after);
    else specs.splice(Math.min(to.indexOf(after), specs.length), 0, after);
  }
  return { specs: in_order_of(specs, from, to), kept };
}

const ids_in = (specs: Specs, ids: ReadonlySet<string>): string[] =>
  specs.map((spec) => spec.intervention_id).filter((id) => ids.has(id));

/** `specs` with the entries that `from` and `to` share in the order of `to`, where they still stand as in `from`. */
function in_order_of(specs: InterventionSpec[], from: Specs, to: Specs): InterventionSpec[] {
  const listed = by_id(specs);
  const shared = new Set(ids_in(from, new Set(by_id(to).keys())).filter((id) => listed.has(id)));
  const [was, wanted, is] = [from, to, specs].map((list) => ids_in(list, shared));
  if (was!.join("\n") === wanted!.join("\n") || is!.join("\n") !== was!.join("\n")) return specs;
  const next = wanted!.values();
  return specs.map((spec) => (shared.has(spec.intervention_id) ? listed.get(next.next().value!)! : spec));
}

const first_pos = ({ positions, enabled }: InterventionSpec): number | null =>
  !enabled ? null : positions?.scope === "all" ? 0 : positions?.scope === "range" ? (positions.from_pos ?? 0) : null;

/**
 * Whether the step from `before` to `after` is about positions that have been computed, those before `next_pos`: an
 * entry that is to act there, or one that acted nowhere else and goes.
 */
export function reaches_back(before: Specs, after: Specs, next_pos: number): boolean {
  const [was, is] = [by_id(before), by_id(after)];
  const comes = after.some((spec) => !same(was.get(spec.intervention_id), spec) && (first_pos(spec) ?? next_pos) < next_pos);
  const goes = before.some((spec) => {
    const to_pos = spec.positions?.to_pos ?? null;
    return first_pos(spec) !== null && to_pos !== null && to_pos <= next_pos && !same(is.get(spec.intervention_id), spec);
  });
  return comes || goes;
}
