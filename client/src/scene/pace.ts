// Keeps turning smooth on slow machines: while the camera moves and frames come late, softness and then sharpness
// are given up step by step; as soon as it rests the picture is drawn in full again.

export interface Quality {
  soft: boolean;
  /** Share of the full resolution, per side. */
  resolution: number;
}

const LEVELS: readonly Quality[] = [
  { soft: true, resolution: 1 },
  { soft: false, resolution: 1 },
  { soft: false, resolution: 0.75 },
  { soft: false, resolution: 0.55 },
];
const LATE_MS = 31;
const EARLY_MS = 18;

export class Pace {
  private level = 0;
  private average_ms = 20;
  private frames_at_level = 0;

  /** One frame of a movement took `interval_ms` since the one before; the quality for it. */
  moving(interval_ms: number): Quality {
    // A pause is not a slow frame.
    if (interval_ms > 0 && interval_ms < 1000) this.average_ms += 0.3 * (interval_ms - this.average_ms);
    this.frames_at_level++;
    if (this.average_ms > LATE_MS && this.frames_at_level >= 4 && this.level < LEVELS.length - 1) this.go(this.level + 1);
    else if (this.average_ms < EARLY_MS && this.frames_at_level >= 40 && this.level > 0) this.go(this.level - 1);
    return LEVELS[this.level]!;
  }

  private go(level: number): void {
    this.level = level;
    this.frames_at_level = 0;
    this.average_ms = (LATE_MS + EARLY_MS) / 2;
  }

  /** Nothing moves: the full picture. */
  get resting(): Quality {
    return LEVELS[0]!;
  }
}
