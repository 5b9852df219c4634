import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { axis_labels, LABEL_PITCH_PX } from "./axis_labels";

describe("axis_labels", () => {
  it("names every token where there is room", () => {
    expect(axis_labels(5, 200, [])).toEqual([0, 1, 2, 3, 4]);
  });

  it("names each second, fifth, tenth token where there is not", () => {
    expect(axis_labels(100, 700, []).slice(0, 4)).toEqual([0, 2, 4, 6]);
    expect(axis_labels(100, 300, []).slice(0, 4)).toEqual([0, 5, 10, 15]);
    expect(axis_labels(100, 150, []).slice(0, 4)).toEqual([0, 10, 20, 30]);
  });

  it("keeps the token pointed at, and makes room around it", () => {
    const labels = axis_labels(100, 150, [43]);
    expect(labels).toContain(43);
    expect(labels).not.toContain(40);
    expect(labels).not.toContain(50);
  });

  it("never puts one over another, in any text and any window", () => {
    const anything = fc.record({
      n: fc.integer({ min: 0, max: 9000 }),
      length: fc.integer({ min: 0, max: 2000 }),
      kept: fc.array(fc.integer({ min: -1, max: 9000 }), { maxLength: 3 }),
    });
    fc.assert(
      fc.property(anything, ({ n, length, kept }) => {
        const labels = axis_labels(n, length, kept);
        const apart = labels.slice(1).map((pos, i) => ((pos - labels[i]!) * length) / n);
        expect(apart.every((px) => px >= LABEL_PITCH_PX - 0.001)).toBe(true);
        const first = kept[0];
        if (first !== undefined && first >= 0 && first < n && length >= LABEL_PITCH_PX) expect(labels).toContain(first);
      }),
    );
  });
});
