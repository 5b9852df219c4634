// The head finder's rows: every head with its scores, and what its numbers are at the shown token.
import type { HeadScore, ModelInfo } from "../../protocol/generated";
import { activation_of, direct_of } from "../../store/query";
import type { StepRecord } from "../../store/types";
import type { ScoreName } from "./score_words";

export type FinderColumn = ScoreName | "norm" | "direct";
export interface FinderSort {
  by: FinderColumn | "id";
  descending: boolean;
}
/** Heads with less than this are left out; by size where a number has a sign. */
export type Thresholds = Partial<Record<FinderColumn, number>>;

export type FinderRow = HeadScore & {
  id: string;
  norm: number | null;
  direct: number | null;
};

/** Every measured head, with its norm and direct effect at `step`. */
export function finder_rows(scores: readonly HeadScore[], info: ModelInfo, step: StepRecord | undefined): FinderRow[] {
  return scores.map((score) => {
    const head = { kind: "head", layer: score.layer, index: score.head_index } as const;
    return {
      ...score,
      id: `L${score.layer}H${score.head_index}`,
      norm: activation_of(step, head, info),
      direct: direct_of(step, head, info),
    };
  });
}

const WANTED = /^(?:L(\d*))?(?:H(\d*))?$/i;

/** The rows that `search` (L18, H6, L18H6, begun is enough) and the thresholds leave; none where it cannot be read. */
export function filter_rows(rows: readonly FinderRow[], search: string, least: Thresholds): FinderRow[] | null {
  const match = WANTED.exec(search.trim());
  if (!match) return null;
  const [, layer = "", head = ""] = match;
  const bounds = Object.entries(least) as [FinderColumn, number][];
  return rows.filter(
    (row) =>
      fits(row.layer, layer, search.toUpperCase().includes("H")) &&
      fits(row.head_index, head, false) &&
      bounds.every(([column, bound]) => reaches(column, row[column], bound)),
  );
}

/** Whether `number` is, or while it is being typed begins, as `wanted` says. */
function fits(number: number, wanted: string, is_whole: boolean): boolean {
  if (wanted === "") return true;
  return is_whole ? number === Number(wanted) : String(number).startsWith(wanted);
}

function reaches(column: FinderColumn, value: number | null, bound: number): boolean {
  if (value === null) return false;
  return (column === "direct" ? Math.abs(value) : value) >= bound;
}

/** `rows` in the order of `sort`; what is unknown comes last, equal rows stay in the network's order. */
export function sort_rows(rows: readonly FinderRow[], { by, descending }: FinderSort): FinderRow[] {
  const sign = descending ? -1 : 1;
  const in_network = (a: FinderRow, b: FinderRow): number => a.layer - b.layer || a.head_index - b.head_index;
  if (by === "id") return [...rows].sort((a, b) => sign * in_network(a, b));
  return [...rows].sort((a, b) => {
    const [x, y] = [a[by], b[by]];
    if (x === null || y === null) return Number(x === null) - Number(y === null) || in_network(a, b);
    return sign * (x - y) || in_network(a, b);
  });
}
