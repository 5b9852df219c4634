// An answer about two prompts as maps of cells, each cell with its name, its number and what a click on it selects.
import { component_id } from "../../layout/component_id";
import type { Component } from "../../protocol/generated";
import type { PatchingAnswer } from "../../protocol/questions";
import type { HostTensor } from "../../store/types";
import { token_label, token_quote } from "../format";
import { largest_size } from "../parts/paint";
import type { MapGroup } from "./patching_state";

export interface PatchMap {
  title: string;
  /** [n_rows, n_columns], row 0 the first layer. */
  tensor: HostTensor;
  columns: "tokens" | "heads";
  scale: number;
  unit: string;
  /** What stands before layer `row`, or what the layer or head does there. */
  kind: "stream" | "attn" | "mlp" | "head";
}

export interface MapCell {
  row: number;
  column: number;
}

export interface StrongRow {
  map: PatchMap;
  cell: MapCell;
  value: number;
}

export const GROUPS: { group: MapGroup; label: string; says: string }[] = [
  {
    group: "layers", label: "Stream, attention, MLP by token",
    says: "What this run (clean) has at a place, put into the other prompt’s (corrupted): (patched − corrupted) ÷ (clean − corrupted), so 0 changes nothing and +1 brings the whole answer back.",
  },
  {
    group: "heads", label: "Each head",
    says: "One head’s output put into the other prompt’s run, at the last token only, and at every token: (patched − corrupted) ÷ (clean − corrupted).",
  },
  {
    group: "apart", label: "How far apart the two runs are",
    says: "Nothing is patched: how much the two runs differ. A difference need not matter for the answer.",
  },
];

export function maps_of(answer: PatchingAnswer, group: MapGroup): PatchMap[] {
  if (group === "apart") {
    const distance = { title: "Stream: |difference| / |other|", tensor: answer.resid_distance, columns: "tokens" as const };
    const norms = { title: "Head norm, last token: run − other", tensor: answer.head_norm_difference, columns: "heads" as const };
    return [
      { ...distance, scale: largest_size(distance.tensor.values), unit: "", kind: "stream" },
      { ...norms, scale: largest_size(norms.tensor.values), unit: "", kind: "head" },
    ];
  }
  const named: Omit<PatchMap, "scale" | "unit">[] = group === "layers"
    ? [
        { title: "Stream before the layer", tensor: answer.resid_pre, columns: "tokens", kind: "stream" },
        { title: "Attention’s output", tensor: answer.attn_out, columns: "tokens", kind: "attn" },
        { title: "MLP’s output", tensor: answer.mlp_out, columns: "tokens", kind: "mlp" },
      ]
    : [
        { title: "Heads, last token", tensor: answer.heads_last, columns: "heads", kind: "head" },
        { title: "Heads, every token", tensor: answer.heads_all, columns: "heads", kind: "head" },
      ];
  const scale = Math.max(...named.map(({ tensor }) => largest_size(tensor.values, 0.1)));
  return named.map((map) => ({ ...map, scale, unit: "of (clean − corrupted)" }));
}

export function value_at({ tensor }: PatchMap, { row, column }: MapCell): number {
  return tensor.values[row * (tensor.shape[1] ?? 0) + column] ?? Number.NaN;
}

/** What a click selects. The stream before a layer is what the MLP below left behind; below the first is none. */
export function component_of({ kind }: PatchMap, { row, column }: MapCell): Component | null {
  if (kind === "head") return { kind, layer: row, index: column };
  if (kind !== "stream") return { kind, layer: row, index: 0 };
  return row > 0 ? { kind: "mlp", layer: row - 1, index: 0 } : null;
}

/** The token that a cell is about: a head's cell is about the metric's. */
export function pos_of(map: PatchMap, cell: MapCell, answer: PatchingAnswer): number {
  return map.columns === "tokens" ? cell.column : answer.metric.pos;
}

export function cell_name(map: PatchMap, cell: MapCell, answer: PatchingAnswer): string {
  if (map.kind === "head") return `L${cell.row}H${cell.column}`;
  const n_layers = answer.resid_pre.shape[0] ?? 0;
  const stream = cell.row < n_layers ? `Stream before L${cell.row}` : `Stream after L${cell.row - 1}`;
  const component = component_of(map, cell);
  const what = map.kind === "stream" || !component ? stream : component_id(component);
  return `${what} at ${token_words(answer, cell.column)}`;
}

/** For the table, where the map is named beside: the layer or head, and the token. */
export function short_name(map: PatchMap, cell: MapCell, answer: PatchingAnswer): string {
  if (map.kind === "head") return `L${cell.row}H${cell.column}`;
  return `L${cell.row} at ${cell.column} ${column_label(answer, cell.column)}`;
}

/** A position with its text, both where the prompts differ. */
export function token_words(answer: PatchingAnswer, pos: number): string {
  const [clean = "", corrupted = ""] = [answer.clean_tokens[pos], answer.corrupted_tokens[pos]];
  return `${pos} ${token_quote(clean)}${clean === corrupted ? "" : ` (other: ${token_quote(corrupted)})`}`;
}

export function column_label(answer: PatchingAnswer, pos: number): string {
  const [clean = "", corrupted = ""] = [answer.clean_tokens[pos], answer.corrupted_tokens[pos]];
  return clean === corrupted ? token_label(clean).trim() : `${token_label(clean).trim()}/${token_label(corrupted).trim()}`;
}

export function differing_positions(answer: PatchingAnswer): number[] {
  return answer.clean_tokens.flatMap((text, pos) => (text === answer.corrupted_tokens[pos] ? [] : [pos]));
}

/** The `n` cells of a map with the largest numbers, largest first; equal ones in reading order. */
export function strongest(map: PatchMap, n: number): StrongRow[] {
  const n_columns = map.tensor.shape[1] ?? 1;
  return Array.from(map.tensor.values, (value, i) => ({
    map, cell: { row: Math.floor(i / n_columns), column: i % n_columns }, value,
  })).filter(({ value }) => Number.isFinite(value) && value !== 0)
    .sort((a, b) => Math.abs(b.value) - Math.abs(a.value)).slice(0, n);
}
