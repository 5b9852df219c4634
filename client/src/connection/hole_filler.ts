// When missing positions are asked for: soon after they are missed, all at once; the one that is looked at, now.
import type { Store } from "../store/store";
import { Holes } from "./holes";

const DELAY_MS = 800;

export class HoleFiller {
  private readonly holes = new Holes();
  private timer: ReturnType<typeof setTimeout> | null = null;

  /** `ask` is told positions of the watched run. */
  constructor(
    private readonly store: Store,
    private readonly is_hidden: () => boolean,
    private readonly ask: (run_id: string, positions: number[]) => void,
  ) {
    store.current_pos.subscribe((pos) => {
      if (!store.follow.peek()) this.ask_for(this.holes.take_one(store, pos));
    });
  }

  /** Another run, or other tokens at the same positions. */
  forget(): void {
    this.holes.forget();
  }

  fill_soon(): void {
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = setTimeout(() => this.fill(), DELAY_MS);
  }

  fill(): void {
    if (!this.is_hidden()) this.ask_for(this.holes.take(this.store));
  }

  private ask_for(positions: number[]): void {
    const run = this.store.run.peek();
    if (run && positions.length > 0) this.ask(run.run_id, positions);
  }
}
