// Tokens per second, by the server's own clock over the last steps, so that a busy page does not change it.

const WINDOW = 24;

export class Speed {
  private samples: { pos: number; ns: number }[] = [];
  private last: number | null = null;

  took_step(pos: number, server_ns: number): void {
    const before = this.samples.at(-1);
    if (before && (pos <= before.pos || server_ns < before.ns)) return; // an old position sent again
    this.samples.push({ pos, ns: server_ns });
    if (this.samples.length > WINDOW) this.samples.shift();
  }

  /** Time that passes now is not the model's: the next step starts a new measurement. */
  pause(): void {
    this.last = this.tokens_per_second();
    this.samples = [];
  }

  reset(): void {
    this.samples = [];
    this.last = null;
  }

  /** Over the last steps; the last value known where there are too few; none before two steps. */
  tokens_per_second(): number | null {
    const [first, last] = [this.samples[0], this.samples.at(-1)];
    if (!first || !last || last.ns <= first.ns || this.samples.length < 3) return this.last;
    return (last.pos - first.pos) / ((last.ns - first.ns) / 1e9);
  }
}
