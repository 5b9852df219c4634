// State of the views of what lies at a token: which one is open, what was asked of columns, where the keys are.
import { signal, type Signal } from "@preact/signals";
import type { Question } from "../../protocol/questions";
import { Inquiries } from "../../store/inquiry";

export type LensViewName = "layers" | "heads" | "paths" | "entropy";
export type HeadLensColour = "direct" | "rank";

/** A token and a layer of the grid. */
export interface LensCell {
  pos: number;
  layer: number;
}

export interface LensState {
  view: Signal<LensViewName>;
  /** Columns of the grid in words, by what they are about; kept as long as the run is watched. */
  columns: Inquiries<Extract<Question, { type: "request_lens" }>>;
  /** The run that `columns` are of. */
  columns_run: string | null;
  /** The cell that has the keys, or had them last; none before the grid is walked by keys. */
  focused: Signal<LensCell | null>;
  head_colour: Signal<HeadLensColour>;
}

export function create_lens_state(): LensState {
  return {
    view: signal<LensViewName>("layers"),
    columns: new Inquiries(),
    columns_run: null,
    focused: signal<LensCell | null>(null),
    head_colour: signal<HeadLensColour>("direct"),
  };
}

export function same_cell(a: LensCell | null, b: LensCell | null): boolean {
  return a === b || (!!a && !!b && a.pos === b.pos && a.layer === b.layer);
}
