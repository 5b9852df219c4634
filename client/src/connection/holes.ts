// Positions whose arrays are missing: dropped for a slow or hidden page, or lost on the way.
import { MAX_REQUESTED_POSITIONS } from "../protocol/generated";
import type { Store } from "../store/store";

const MAX_ATTEMPTS = 2;

export class Holes {
  private readonly attempts = new Map<number, number>();
  private readonly lens_asked = new Set<number>();

  forget(): void {
    this.attempts.clear();
    this.lens_asked.clear();
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

  /** Whether the step at `pos` came without its logit lens, as a prompt's do until there is time for them. */
  lacks_lens(store: Store, pos: number): boolean {
    const has_channel = store.model_info.peek()?.capabilities.channels.includes("logit_lens") ?? false;
    const step = store.history.get(pos);
    return has_channel && step !== undefined && step.tensors.lens_token_id === undefined;
  }

  /** Like `take`, for one position that the person looks at: its lens too, out of turn. */
  take_one(store: Store, pos: number): number[] {
    if (pos < 0) return [];
    if (this.is_hole(store, pos)) {
      const attempts = this.attempts.get(pos) ?? 0;
      this.attempts.set(pos, attempts + 1);
      return attempts < MAX_ATTEMPTS ? [pos] : [];
    }
    if (!this.lacks_lens(store, pos) || this.lens_asked.has(pos)) return [];
    this.lens_asked.add(pos);
    return [pos];
  }
}
