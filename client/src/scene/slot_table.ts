// Which token's points lie in which part of the buffer. Newcomers take a free part, or that of a token that is no
// longer shown, so a new token costs one part and no other moves.

export interface Slot {
  slot: number;
  /** What the slice was made from; where it is unchanged nothing is uploaded. */
  sources: readonly unknown[];
}

export class SlotTable {
  private readonly held = new Map<number, Slot>();

  constructor(readonly size: number) {}

  get(pos: number): Slot | undefined {
    return this.held.get(pos);
  }

  /** The slot for `pos`; positions in `shown` keep theirs. Null when all slots are taken by shown positions. */
  claim(pos: number, sources: readonly unknown[], shown: ReadonlySet<number>): number | null {
    const mine = this.held.get(pos);
    const slot = mine?.slot ?? this.free_slot(shown);
    if (slot === null) return null;
    this.held.set(pos, { slot, sources });
    return slot;
  }

  private free_slot(shown: ReadonlySet<number>): number | null {
    if (this.held.size < this.size) {
      const taken = new Set([...this.held.values()].map((held) => held.slot));
      for (let slot = 0; slot < this.size; slot++) if (!taken.has(slot)) return slot;
    }
    for (const [pos, held] of this.held) {
      if (!shown.has(pos)) {
        this.held.delete(pos);
        return held.slot;
      }
    }
    return null;
  }

  /** Is the slice of `pos` made from exactly these arrays? */
  holds(pos: number, sources: readonly unknown[]): boolean {
    const held = this.held.get(pos);
    return !!held && held.sources.length === sources.length && held.sources.every((source, i) => source === sources[i]);
  }

  forget(pos: number): void {
    this.held.delete(pos);
  }

  clear(): void {
    this.held.clear();
  }
}
