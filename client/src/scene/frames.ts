// Frames on demand: asked for any number of times, drawn once, and none while nothing changes.

/** A frame after a pause is drawn as if the one before had been this long ago. */
const FIRST_INTERVAL_MS = 16;

export class Frames {
  private request = 0;
  private last_ms = 0;
  private is_over = false;
  n_drawn = 0;

  /** `draw` gets the time since the frame before, 0 after a pause, and says whether another must follow. */
  constructor(private readonly draw: (interval_ms: number) => boolean) {}

  ask(): void {
    if (!this.request && !this.is_over) this.request = requestAnimationFrame((now) => this.run(now));
  }

  private run(now: number): void {
    this.request = 0;
    const interval_ms = this.last_ms ? now - this.last_ms : 0;
    this.last_ms = now;
    if (this.draw(interval_ms)) this.ask();
    else this.last_ms = 0;
  }

  /** Never again, whatever late events ask for. */
  dispose(): void {
    cancelAnimationFrame(this.request);
    this.is_over = true;
  }
}

/** Seconds that a movement advances by in one frame: at most a tenth, so that a pause is not a jump. */
export function advance_secs(interval_ms: number): number {
  return Math.min(100, interval_ms || FIRST_INTERVAL_MS) / 1000;
}
