import { describe, expect, it } from "vitest";
import { build_blocks, SHEET_WIDTH } from "./blocks";
import { box_edges, stream_colour, STREAM_COLOURS, stream_points, stream_scale } from "./stream_places";

const BLOCKS = build_blocks({ n_layers: 3, n_heads: 2, d_mlp: 24 });
/** Two tokens at three places. */
const COORDINATES = { shape: [2, 3, 3], values: [0, 0, 0, 4, 1, 0, 4, 2, 1, /**/ -8, 0, 0, -8, 2, 0, 0, 0, 2] };

describe("the box of the stream's paths", () => {
  it("lies above the network, in its middle, around the paths that shape it", () => {
    const { box } = stream_scale(BLOCKS, COORDINATES, [0, 1]);
    expect(box.low[1]).toBeGreaterThan(BLOCKS.top);
    expect((box.low[0] + box.high[0]) / 2).toBeCloseTo(SHEET_WIDTH / 2);
    for (const pos of [0, 1]) {
      for (const point of stream_points(COORDINATES, pos, stream_scale(BLOCKS, COORDINATES, [0, 1]))) {
        for (const axis of [0, 1, 2] as const) {
          expect(point[axis]).toBeGreaterThanOrEqual(box.low[axis]);
          expect(point[axis]).toBeLessThanOrEqual(box.high[axis]);
        }
      }
    }
  });

  it("has one scale for all axes: the third goes back, the second up, the first to the right", () => {
    const scale = stream_scale(BLOCKS, COORDINATES, [0, 1]);
    const [a, b, c] = stream_points(COORDINATES, 0, scale);
    expect(b![0] - a![0]).toBeCloseTo(4 * scale.unit);
    expect(b![1] - a![1]).toBeCloseTo(scale.unit);
    expect(c![2] - b![2]).toBeCloseTo(-scale.unit);
  });

  it("is there for a path that does not move, and for a token that is not in the answer there is none", () => {
    const still = { shape: [1, 2, 3], values: [1, 1, 1, 1, 1, 1] };
    const scale = stream_scale(BLOCKS, still, [0]);
    expect(scale.box.high[0] - scale.box.low[0]).toBeGreaterThan(0.5);
    expect(stream_points(still, 0, scale).flat().every(Number.isFinite)).toBe(true);
    expect(stream_points(still, 1, scale)).toEqual([]);
    expect(stream_points(still, -1, scale)).toEqual([]);
    expect(stream_scale(BLOCKS, still, [7]).middle).toEqual([0, 0, 0]);
  });

  it("has twelve edges, each along one axis", () => {
    const { box } = stream_scale(BLOCKS, COORDINATES, [0, 1]);
    const edges = box_edges(box);
    expect(edges).toHaveLength(12);
    for (const [from, to] of edges) expect([0, 1, 2].filter((axis) => from[axis as 0] !== to[axis as 0])).toHaveLength(1);
  });

  it("gives the same colours round and round", () => {
    const n = STREAM_COLOURS.dark.length;
    expect(stream_colour("dark", n + 1)).toBe(stream_colour("dark", 1));
    expect(new Set(STREAM_COLOURS.light).size).toBe(STREAM_COLOURS.light.length);
  });
});
