// The table's rows as arithmetic: every component of the model has a row number, in the order of the network.
// Nothing is built per row, so 2.3 million neurons cost an array of numbers.
import type { Component } from "../../protocol/generated";
import { expand_int8 } from "../../store/companding";
import { is_layer_shown, type LayerRange } from "../../store/layer_range";
import { activation_of, direct_of, type Shape } from "../../store/query";
import type { StepRecord } from "../../store/types";
import type { ComponentFilter } from "../page";

export type SortBy = "id" | "value" | "direct";
export interface Sort {
  by: SortBy;
  descending: boolean;
}

/** Rows of one layer: attn, heads, mlp, neurons. */
export class ComponentRows {
  readonly per_layer: number;
  readonly n_rows: number;

  constructor(readonly shape: Shape) {
    this.per_layer = 2 + shape.n_heads + shape.d_mlp;
    this.n_rows = shape.n_layers * this.per_layer;
  }

  component(row: number): Component {
    const layer = Math.floor(row / this.per_layer);
    const at = row - layer * this.per_layer;
    const { n_heads } = this.shape;
    if (at === 0) return { kind: "attn", layer, index: 0 };
    if (at <= n_heads) return { kind: "head", layer, index: at - 1 };
    if (at === n_heads + 1) return { kind: "mlp", layer, index: 0 };
    return { kind: "neuron", layer, index: at - n_heads - 2 };
  }

  row(component: Component): number {
    const { kind, layer, index } = component;
    const { n_heads } = this.shape;
    const at = { attn: 0, head: 1 + index, mlp: n_heads + 1, neuron: n_heads + 2 + index }[kind];
    return layer * this.per_layer + at;
  }

  /** Rows that `filter`, `search` and `range` leave, in the network's order; null where the search cannot be read. */
  select(filter: ComponentFilter, search: string, touched: ReadonlySet<number>, range: LayerRange | null = null): number[] | null {
    const wanted = parse_search(search);
    if (!wanted) return null;
    const rows: number[] = [];
    if (filter === "changed") {
      for (const row of [...touched].sort((a, b) => a - b)) {
        const component = this.component(row);
        if (is_layer_shown(range, component.layer) && fits(component, wanted)) rows.push(row);
      }
      return rows;
    }
    const { n_layers, n_heads, d_mlp } = this.shape;
    const first = wanted.layer ?? range?.first_layer ?? 0;
    const last = wanted.layer ?? range?.last_layer ?? n_layers - 1;
    for (let layer = first; layer <= last && layer < n_layers; layer++) {
      if (!is_layer_shown(range, layer)) continue;
      const start = layer * this.per_layer;
      const add = (kind: Component["kind"], at: number, n: number): void => {
        if (!shows(filter, kind) || (wanted.kind && wanted.kind !== kind)) return;
        for (let i = 0; i < n; i++) if (wanted.index === "" || String(i).startsWith(wanted.index)) rows.push(start + at + i);
      };
      add("attn", 0, 1);
      add("head", 1, n_heads);
      add("mlp", 1 + n_heads, 1);
      add("neuron", 2 + n_heads, d_mlp);
    }
    return rows;
  }

  /** `rows` in the order of `sort`; by value is by size, and what is unknown comes last. */
  sort(rows: readonly number[], sort: Sort, step: StepRecord | undefined): readonly number[] {
    if (sort.by === "id") return sort.descending ? rows.toReversed() : rows;
    if (sort.by === "value") return sort_by_size(rows, this.values(step), sort.descending);
    const known: { row: number; direct: number }[] = [];
    const unknown: number[] = [];
    for (const row of rows) {
      const direct = this.may_have_direct(row, step) ? direct_of(step, this.component(row), this.shape) : null;
      if (direct === null) unknown.push(row);
      else known.push({ row, direct });
    }
    known.sort((a, b) => (sort.descending ? b.direct - a.direct : a.direct - b.direct));
    return [...known.map(({ row }) => row), ...unknown];
  }

  /** Sizes by row; NaN where unknown. */
  values(step: StepRecord | undefined): Float32Array {
    const { n_layers, n_heads, d_mlp } = this.shape;
    const values = new Float32Array(this.n_rows).fill(Number.NaN);
    const codes = step?.tensors.neurons?.values;
    const scales = step?.tensors.neurons_scale?.values;
    for (let layer = 0; layer < n_layers; layer++) {
      const start = layer * this.per_layer;
      for (let at = 0; at < n_heads + 2; at++) {
        values[start + at] = activation_of(step, this.component(start + at), this.shape) ?? Number.NaN;
      }
      const scale = scales?.[layer];
      const first = start + n_heads + 2;
      if (codes instanceof Float32Array) values.set(codes.subarray(layer * d_mlp, (layer + 1) * d_mlp), first);
      if (!codes || scale === undefined) continue;
      for (let i = 0; i < d_mlp; i++) values[first + i] = expand_int8(codes[layer * d_mlp + i] ?? 0, scale);
    }
    return values;
  }

  /** Only the strongest neurons have a known contribution: do not look for the others one by one. */
  private may_have_direct(row: number, step: StepRecord | undefined): boolean {
    if (row % this.per_layer < this.shape.n_heads + 2) return true;
    return this.strongest(step).has(row);
  }

  private strongest_of: { step: StepRecord | undefined; rows: Set<number> } = { step: undefined, rows: new Set() };

  private strongest(step: StepRecord | undefined): Set<number> {
    if (this.strongest_of.step === step) return this.strongest_of.rows;
    const layers = step?.tensors.direct_neuron_layer?.values ?? [];
    const indices = step?.tensors.direct_neuron_index?.values ?? [];
    const rows = new Set<number>();
    const add = (layer: number, index: number): void => void rows.add(this.row({ kind: "neuron", layer, index }));
    const { d_mlp } = this.shape;
    if (step?.signed?.of === "causal") step.signed.neurons?.at?.forEach((cell) => add(Math.floor(cell / d_mlp), cell % d_mlp));
    else layers.forEach((layer, k) => add(layer, indices[k] ?? 0));
    this.strongest_of = { step, rows };
    return rows;
  }
}

/** Sorts 46,080 rows in a few milliseconds: size and row are packed into one double each. */
function sort_by_size(rows: readonly number[], values: Float32Array, descending: boolean): number[] {
  const ROWS = 2 ** 22;
  const UNKNOWN_LAST = 2 ** 31 - 1; // above the bits of infinity; with the row it still fits 53 bits
  if (values.length > ROWS) return [...rows].sort((a, b) => Math.abs(values[b]!) - Math.abs(values[a]!));
  const sizes = values.map(Math.abs);
  const bits = new Uint32Array(sizes.buffer);
  const packed = new Float64Array(rows.length);
  rows.forEach((row, i) => {
    // The bits of a non-negative float order as it does; equal sizes keep the network's order.
    const size = Number.isNaN(sizes[row]) ? (descending ? -1 : UNKNOWN_LAST) : bits[row]!;
    packed[i] = size * ROWS + (descending ? ROWS - 1 - row : row);
  });
  packed.sort();
  if (descending) packed.reverse();
  return Array.from(packed, (value) => {
    const row = value - Math.floor(value / ROWS) * ROWS;
    return descending ? ROWS - 1 - row : row;
  });
}

interface Wanted {
  kind: Component["kind"] | null;
  layer: number | null;
  /** Digits with which the index begins. */
  index: string;
}

const SEARCH = /^(?:l(?<layer>\d{1,6}))?(?:h(?<head>\d{0,6})|n(?<neuron>\d{0,9})|\.?(?<whole>attn?|mlp|at?|ml?)|\.)?$/;

/** What a search such as `L12H3`, `L12`, `H3`, `mlp` asks for; null where it asks for nothing we know. */
export function parse_search(text: string): Wanted | null {
  const match = SEARCH.exec(text.trim().toLowerCase().replaceAll(" ", ""));
  if (!match?.groups) return null;
  const { layer, head, neuron, whole } = match.groups;
  const kind = head !== undefined ? "head" : neuron !== undefined ? "neuron" : whole?.startsWith("a") ? "attn" : whole ? "mlp" : null;
  return { kind, layer: layer === undefined ? null : Number(layer), index: head ?? neuron ?? "" };
}

function shows(filter: ComponentFilter, kind: Component["kind"]): boolean {
  if (filter === "all" || filter === "changed") return true;
  return filter === "layer" ? kind === "attn" || kind === "mlp" : filter === kind;
}

function fits(component: Component, wanted: Wanted): boolean {
  return (
    (wanted.kind === null || wanted.kind === component.kind) &&
    (wanted.layer === null || wanted.layer === component.layer) &&
    String(component.index).startsWith(wanted.index)
  );
}
