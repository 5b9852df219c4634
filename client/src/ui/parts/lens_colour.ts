// How strongly a cell of the lens grid is tinted: always stronger for nearer to an answer, and said in words.
import type { StepRecord } from "../../store/types";

export type LensColour = "prob" | "rank" | "entropy";

export const LENS_COLOURS: readonly { colour: LensColour; label: string; says: string }[] = [
  { colour: "prob", label: "probability", says: "stronger: the layer gives its top token more probability" },
  { colour: "rank", label: "rank of the chosen token", says: "stronger: the token that was chosen ranks higher" },
  { colour: "entropy", label: "entropy", says: "stronger: the layer is surer, its entropy is lower" },
];

export interface LensCellValues {
  text: string;
  prob: number | null;
  /** Of the token that was in fact chosen, 1 for the top one. */
  rank: number | null;
  /** Nats. */
  entropy: number | null;
}

/** What the lens says at `step` after `layer`; none where its lens has not come. */
export function lens_at(step: StepRecord | undefined, layer: number): LensCellValues | null {
  const text = step?.lens_texts?.[layer];
  if (!step || text === undefined) return null;
  const at = (name: "lens_prob" | "lens_rank" | "lens_entropy"): number | null =>
    step.tensors[name]?.values[layer] ?? null;
  const rank = at("lens_rank");
  return { text, prob: at("lens_prob"), rank: rank === null ? null : rank + 1, entropy: at("lens_entropy") };
}

/** The tint of a cell, 0 to 1; 0 where its number is not known. */
export function lens_tint(cell: LensCellValues, colour: LensColour, d_vocab: number): number {
  const widest = Math.log(Math.max(2, d_vocab));
  const tint = {
    prob: cell.prob ?? 0,
    rank: cell.rank === null ? 0 : 1 - Math.log(cell.rank) / widest,
    entropy: cell.entropy === null ? 0 : 1 - cell.entropy / widest,
  }[colour];
  return Number.isFinite(tint) ? Math.min(1, Math.max(0, tint)) : 0;
}
