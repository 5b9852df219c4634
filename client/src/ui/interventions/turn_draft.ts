// An attention edit that is being drawn: which tokens look (the queries), where to (keys), away from which.
import type { AttentionEdit, Component, InterventionSpec } from "../../protocol/generated";
import { attention_row } from "../../store/query";
import type { StepRecord } from "../../store/types";
import { incomplete } from "./draft";

export type AttentionOperation = "attention_turn" | "attention_set" | "attention_knockout";
/** What a click on a token means. */
export type MarkMode = "query" | "keys" | "from_keys";

export const ATTENTION_OPERATIONS: { operation: AttentionOperation; label: string; hint: string }[] = [
  { operation: "attention_turn", label: "Turn", hint: "Weight moves from some tokens (or all) to others; each row keeps its sum" },
  { operation: "attention_set", label: "Set", hint: "Weights as you give them" },
  { operation: "attention_knockout", label: "Knock out", hint: "No weight on these tokens" },
];

export function new_turn(): InterventionSpec {
  return { intervention_id: "turn", operation: "attention_turn", components: [], amount: 0, enabled: true, attention: { keys: [] } };
}

export const edit_of = (draft: InterventionSpec): AttentionEdit => draft.attention ?? { keys: [] };

/** The token that looks: the first position of a range; null where every token from now on does. */
export const query_of = (draft: InterventionSpec): number | null =>
  draft.positions?.scope === "range" ? (draft.positions.from_pos ?? 0) : null;

function toggled_in(list: readonly number[], pos: number): number[] {
  return list.includes(pos) ? list.filter((other) => other !== pos) : [...list, pos].sort((a, b) => a - b);
}

/** `draft` with the token at `pos` marked as `mode` says, or no longer so. */
export function with_mark(draft: InterventionSpec, mode: MarkMode, pos: number): InterventionSpec {
  if (mode === "query") {
    const is_same = query_of(draft) === pos;
    return { ...draft, positions: is_same ? { scope: "from_now" } : { scope: "range", from_pos: pos, to_pos: null } };
  }
  const edit = edit_of(draft);
  const other = mode === "keys" ? "from_keys" : "keys";
  const marked = toggled_in(edit[mode] ?? [], pos);
  const attention: AttentionEdit = {
    ...edit, [mode]: marked, [other]: (edit[other] ?? []).filter((held) => held !== pos || !marked.includes(pos)), weights: [],
  };
  return { ...draft, attention };
}

/** `draft` with an arc from the token that looks to one that is marked as `mode` says. */
export function with_arc(draft: InterventionSpec, mode: "keys" | "from_keys", from: number, to: number): InterventionSpec {
  const with_query = query_of(draft) === from ? draft : with_mark(draft, "query", from);
  return (edit_of(draft)[mode] ?? []).includes(to) ? with_query : with_mark(with_query, mode, to);
}

/** `draft` as another operation: what that one has no use for is left out. */
export function as_operation(draft: InterventionSpec, operation: AttentionOperation): InterventionSpec {
  const { keys, from_keys = [] } = edit_of(draft);
  const attention: AttentionEdit = operation === "attention_turn" ? { keys, from_keys } : { keys };
  return { ...draft, operation, attention };
}

/** What is still missing before it can be applied to `heads`; null where nothing is. */
export function turn_problem(draft: InterventionSpec, heads: readonly Component[]): string | null {
  const { keys } = edit_of(draft);
  if (heads.length === 0) return "Pick a head, or select one.";
  if (keys.length === 0) return draft.operation === "attention_knockout" ? "Mark the tokens that are not to be looked at." : "Mark the tokens to look at.";
  const query = query_of(draft);
  if (query !== null && keys.every((key) => key > query)) return "A token cannot look at one that comes later.";
  return incomplete(draft);
}

/** How much each head of a model of `shape` looks at `keys` at `step`, [n_layers, n_heads]; null without attention. */
export function looks_at(
  step: StepRecord | undefined, keys: readonly number[], { n_layers, n_heads }: { n_layers: number; n_heads: number },
): number[] | null {
  const wanted = new Set(keys);
  const looks: number[] = [];
  for (let at = 0; at < n_layers * n_heads; at++) {
    const row = attention_row(step, Math.floor(at / n_heads), at % n_heads);
    if (!row) return null;
    looks.push(row.keys.reduce((sum, key) => (wanted.has(key.pos) ? sum + key.weight : sum), 0));
  }
  return looks;
}

/** Of all heads, the `n` with the largest of `values` ([n_layers, n_heads]) above 0, most first. */
export function heads_with_most(values: ArrayLike<number>, n: number, n_heads: number): Component[] {
  return Array.from(values, (value, at) => ({ value, at }))
    .filter(({ value }) => value > 0)
    .sort((a, b) => b.value - a.value)
    .slice(0, n)
    .map(({ at }) => ({ kind: "head", layer: Math.floor(at / n_heads), index: at % n_heads }));
}

/** Mean weight of `heads` from the token of `step` on each token before it. */
export function mean_attention(step: StepRecord | undefined, heads: readonly Component[]): Map<number, number> {
  const sums = new Map<number, number>();
  for (const { layer, index } of heads) {
    for (const { pos, weight } of attention_row(step, layer, index)?.keys ?? []) {
      sums.set(pos, (sums.get(pos) ?? 0) + weight / heads.length);
    }
  }
  return sums;
}

/** Positions of every token that the word or words of `text` are made of, wherever they stand up to `last`. */
export function positions_of_text(tokens: readonly { text: string }[], text: string, last: number): number[] {
  const wanted = text.trim().toLowerCase();
  if (wanted === "") return [];
  const begins: number[] = [];
  let whole = "";
  for (const token of tokens.slice(0, last + 1)) {
    begins.push(whole.length);
    whole += token.text.toLowerCase();
  }
  const found = new Set<number>();
  for (let at = whole.indexOf(wanted); at >= 0; at = whole.indexOf(wanted, at + 1)) {
    begins.forEach((begin, pos) => {
      const end = begins[pos + 1] ?? whole.length;
      // A token's own blank before the word does not count, nor does one that only ends where it begins.
      if (begin < at + wanted.length && end > at) found.add(pos);
    });
  }
  return [...found];
}

/** `draft` with all of `positions` marked as `mode` says, beside what is marked. */
export function with_marks(draft: InterventionSpec, mode: MarkMode, positions: readonly number[]): InterventionSpec {
  if (mode === "query") return positions.length > 0 ? with_mark({ ...draft, positions: { scope: "from_now" } }, mode, positions.at(-1)!) : draft;
  const fresh = positions.filter((pos) => !(edit_of(draft)[mode] ?? []).includes(pos));
  return fresh.reduce((held, pos) => with_mark(held, mode, pos), draft);
}
