// Which tokens are named along an axis: as many as can be read, never one over another.

/** Room that a label needs along its axis, CSS pixels. */
export const LABEL_PITCH_PX = 13;
const STEPS = [1, 2, 5];

/** The smallest of 1, 2, 5, 10, 20, 50, ... positions that are at least `pitch_px` apart. */
function stride_of(n: number, length_px: number, pitch_px: number): number {
  const wanted = (pitch_px * n) / length_px;
  for (let power = 1; ; power *= 10) {
    for (const step of STEPS) if (step * power >= wanted) return step * power;
  }
}

/**
 * Positions of `n` tokens spread over `length_px` that get a label, ascending: `kept` ones (the first of them
 * first, where they would collide), then each stride-th.
 */
export function axis_labels(n: number, length_px: number, kept: readonly number[], pitch_px = LABEL_PITCH_PX): number[] {
  if (n <= 0 || length_px < pitch_px) return [];
  const cell_px = length_px / n;
  const labels: number[] = [];
  const is_clear_of = (others: readonly number[], pos: number): boolean =>
    others.every((other) => Math.abs(other - pos) * cell_px >= pitch_px - 1e-6);
  for (const pos of kept) if (pos >= 0 && pos < n && is_clear_of(labels, pos)) labels.push(pos);
  const firm = [...labels];
  const stride = stride_of(n, length_px, pitch_px);
  for (let pos = 0; pos < n; pos += stride) if (is_clear_of(firm, pos)) labels.push(pos);
  return labels.sort((a, b) => a - b);
}
