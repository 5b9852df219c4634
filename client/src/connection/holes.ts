// Positions whose arrays are missing: dropped for a slow or hidden page, or lost on the way.
import { MAX_REQUESTED_POSITIONS } from "../protocol/generated";
import type { Store } from "../store/store";

const MAX_ATTEMPTS = 2;

export class Holes {
  private readonly attempts = new Map<number, number>();

  forget(): void {
    this.attempts.clear();
  }

  /** Whether the step at `pos` should hold arrays and does not. */
  is_hole(store: Store, pos: number): boolean {
    const channels = store.model_info.peek()?.capabilities.channels.length ?? 0;
    const step = store.history.get(pos);
    return channels > 0 && (!step || step.detail_dropped || Object.keys(step.tensors).length === 0);
  }

  /** Holes worth asking for, nearest to the shown position first; each is asked for twice at most. */
  take(store: Store): number[] {
    const centre = store.current_pos.peek();
    const found: number[] = [];
    for (let pos = 0; pos <= store.history.newest_pos; pos++) {
      if (this.is_hole(store, pos) && (this.attempts.get(pos) ?? 0) < MAX_ATTEMPTS) found.push(pos);
    }
    found.sort((a, b) => Math.abs(a - centre) - Math.abs(b - centre));
    const taken = found.slice(0, MAX_REQUESTED_POSITIONS);
    for (const pos of taken) this.attempts.set(pos, (this.attempts.get(pos) ?? 0) + 1);
    return taken;
  }

  /** Like `take`, for one position that the person looks at. */
  take_one(store: Store, pos: number): number[] {
    if (pos < 0 || !this.is_hole(store, pos) || (this.attempts.get(pos) ?? 0) >= MAX_ATTEMPTS) return [];
    this.attempts.set(pos, (this.attempts.get(pos) ?? 0) + 1);
    return [pos];
  }
}
