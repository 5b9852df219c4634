// Labels never pile up: the more important one stays, what would touch it is not shown.

export interface LabelBox {
  /** Left, top, width and height in CSS pixels. */
  x: number;
  y: number;
  w: number;
  h: number;
  priority: number;
}

/** Indices of the boxes to show: greedy by falling priority, earlier first among equals; none overlap. */
export function thin_labels(boxes: readonly LabelBox[], gap: number): number[] {
  const order = boxes.map((_, i) => i).sort((a, b) => boxes[b]!.priority - boxes[a]!.priority || a - b);
  const kept: number[] = [];
  for (const i of order) if (is_free(boxes[i]!, boxes, kept, gap)) kept.push(i);
  return kept;
}

function is_free(a: LabelBox, boxes: readonly LabelBox[], kept: readonly number[], gap: number): boolean {
  for (let k = 0; k < kept.length; k++) {
    const b = boxes[kept[k]!]!;
    if (a.y < b.y + b.h + gap && b.y < a.y + a.h + gap && a.x < b.x + b.w + gap && b.x < a.x + a.w + gap) return false;
  }
  return true;
}
