// The residual stream's paths: whose are drawn, how they are scaled, and the server's answer.
import { signal, type Signal } from "@preact/signals";
import type { Question, StreamPcaAnswer } from "../protocol/questions";
import { Inquiry } from "./inquiry";
import type { Store } from "./store";

type StreamQuestion = Extract<Question, { type: "request_stream_pca" }>;

/** What an answer is about: this run under this revision. */
interface Moment {
  run_id: string;
  revision: number;
}

export class StreamPaths {
  /** The person wants them in the picture. */
  readonly is_shown: Signal<boolean> = signal(false);
  /** Tokens whose paths stay, in the order in which they were chosen; the shown token's is drawn besides. */
  readonly pinned: Signal<readonly number[]> = signal([]);
  readonly scaling: Signal<StreamQuestion["scaling"]> = signal("rms");
  /** The first token does not shape the axes. */
  readonly skips_first: Signal<boolean> = signal(true);
  readonly inquiry = new Inquiry<StreamQuestion>();
  readonly asked: Signal<Moment | null> = signal(null);

  toggle(pos: number): void {
    const pinned = this.pinned.peek();
    this.pinned.value = pinned.includes(pos) ? pinned.filter((other) => other !== pos) : [...pinned, pos];
  }
}

/** The answer, where it is about the run as it is shown; what was computed anew since has other paths. */
export function stream_answer(store: Store): StreamPcaAnswer | null {
  const { inquiry, asked } = store.stream;
  const { answer } = inquiry.slot.value;
  const run = store.run.value;
  const about = asked.value;
  return answer && run && about?.run_id === run.run_id && about.revision === run.revision ? answer : null;
}

/** One path to be drawn: `order` chooses its colour. */
export interface ChosenPath {
  pos: number;
  order: number;
  is_current: boolean;
}

/** The paths to be drawn, the shown token's last (on top). */
export function chosen_paths(pinned: readonly number[], current: number, n_positions: number, most: number): ChosenPath[] {
  const known = pinned.map((pos, order) => ({ pos, order: order + 1, is_current: pos === current }))
    .filter(({ pos }) => pos < n_positions).slice(0, most);
  if (current >= 0 && current < n_positions && !known.some(({ is_current }) => is_current)) {
    known.push({ pos: current, order: 0, is_current: true });
  }
  return known.sort((a, b) => Number(a.is_current) - Number(b.is_current));
}
