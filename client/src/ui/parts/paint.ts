// Cells as pixels of a small canvas that the page stretches: one pixel a cell.

/** Paint `n_rows` by `n_columns` cells; `place_of` is a cell's place in `lut`, 0 to 1, or NaN for none. */
export function paint_cells(
  canvas: HTMLCanvasElement, n_rows: number, n_columns: number, lut: Uint8Array,
  place_of: (row: number, column: number) => number,
): void {
  canvas.width = Math.max(1, n_columns);
  canvas.height = Math.max(1, n_rows);
  const context = canvas.getContext("2d");
  if (!context || n_rows === 0 || n_columns === 0) return;
  const image = context.createImageData(n_columns, n_rows);
  for (let row = 0; row < n_rows; row++) {
    for (let column = 0; column < n_columns; column++) {
      const place = place_of(row, column);
      if (Number.isNaN(place)) continue; // left transparent: the ground shows
      const entry = 4 * Math.round(255 * Math.min(1, Math.max(0, place)));
      image.data.set(lut.subarray(entry, entry + 4), 4 * (row * n_columns + column));
    }
  }
  context.putImageData(image, 0, 0);
}

/** More cells than this along a side share a pixel. */
const MOST_PIXELS = 1024;

/**
 * Paint an `n` by `n` pattern of attention; `each_weight` gives its weights, rows of queries, columns of keys. Where
 * there are more cells than pixels, the largest weight of those a pixel covers.
 */
export function paint_pattern(
  canvas: HTMLCanvasElement, n: number, lut: Uint8Array,
  each_weight: (put: (query: number, key: number, weight: number) => void) => void,
): void {
  const size = Math.min(n, MOST_PIXELS);
  const weights = new Float32Array(size * size);
  each_weight((query, key, weight) => {
    const at = Math.floor((query * size) / n) * size + Math.floor((key * size) / n);
    if (weight > weights[at]!) weights[at] = weight;
  });
  // Square root: a tenth of the attention should be seen.
  paint_cells(canvas, size, size, lut, (row, column) => Math.sqrt(weights[row * size + column]!));
}

/** The cell under the pointer. */
export function cell_under(
  event: MouseEvent, canvas: HTMLCanvasElement, n_rows: number, n_columns: number,
): { row: number; column: number } | null {
  const box = canvas.getBoundingClientRect();
  if (n_rows === 0 || n_columns === 0 || box.width === 0 || box.height === 0) return null;
  const along = (offset: number, size: number, n: number): number =>
    Math.min(n - 1, Math.max(0, Math.floor((offset / size) * n)));
  return {
    row: along(event.clientY - box.top, box.height, n_rows),
    column: along(event.clientX - box.left, box.width, n_columns),
  };
}

/** The largest magnitude among finite `values`, at least `least`. */
export function largest_size(values: Iterable<number>, least = 1e-6): number {
  let size = least;
  for (const value of values) if (Number.isFinite(value) && Math.abs(value) > size) size = Math.abs(value);
  return size;
}
