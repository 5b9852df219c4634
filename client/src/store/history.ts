// The steps of the run being watched, by position. Not reactive in itself: listeners are told which
// position changed, so that a step costs one texture row and not a re-render of the page.
import type { StepRecord } from "./types";

export type StepListener = (pos: number) => void;

export class History {
  private readonly steps = new Map<number, StepRecord>();
  private readonly listeners = new Set<StepListener>();
  private newest = -1;

  /** Largest position with a step; -1 when there is none. */
  get newest_pos(): number {
    return this.newest;
  }

  get size(): number {
    return this.steps.size;
  }

  get(pos: number): StepRecord | undefined {
    return this.steps.get(pos);
  }

  /** Positions that hold a step, ascending. */
  positions(): number[] {
    return [...this.steps.keys()].sort((a, b) => a - b);
  }

  /** Add a step, or merge its further tensors into the one already there under the same revision. */
  put(step: StepRecord): void {
    const before = this.steps.get(step.pos);
    const merged =
      before && before.revision === step.revision
        ? {
            ...before,
            ...step,
            tensors: { ...before.tensors, ...step.tensors },
            lens_texts: step.lens_texts ?? before.lens_texts,
            direct_target_id: step.direct_target_id ?? before.direct_target_id,
            direct_distractor_id: step.direct_distractor_id ?? before.direct_distractor_id,
            twin: step.twin ?? before.twin ?? null,
          }
        : step;
    this.steps.set(step.pos, merged);
    this.newest = Math.max(this.newest, step.pos);
    for (const listener of this.listeners) listener(step.pos);
  }

  /** Forget every step from `from_pos` on (recompute), or all of them. Listeners are told -1. */
  drop_from(from_pos: number): void {
    for (const pos of this.steps.keys()) if (pos >= from_pos) this.steps.delete(pos);
    this.newest = -1;
    for (const pos of this.steps.keys()) this.newest = Math.max(this.newest, pos);
    for (const listener of this.listeners) listener(-1);
  }

  /** Call `listener` for every change until the returned function is called. */
  subscribe(listener: StepListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}
