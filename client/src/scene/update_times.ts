// Main-thread time of the frames that brought new values.
const KEPT = 120;

export class UpdateTimes {
  private readonly ms: number[] = [];

  add(ms: number): void {
    this.ms.push(ms);
    if (this.ms.length > KEPT) this.ms.shift();
  }

  get last_ms(): number {
    return this.ms.at(-1) ?? 0;
  }

  /** 0 when there was none. */
  median_ms(): number {
    const sorted = [...this.ms].sort((a, b) => a - b);
    return sorted[Math.floor(sorted.length / 2)] ?? 0;
  }
}
