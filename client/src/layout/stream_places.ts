// Where the residual stream's paths lie: a box of its own above the network, the first principal axis to the right,
// the second up, the third towards the back. One scale for all three, so that lengths can be compared.
import type { Theme } from "../store/types";
import { SHEET_WIDTH, type Blocks } from "./blocks";
import type { Vec3 } from "./framing";

/** Paths drawn at once: more cannot be told apart. */
export const MAX_STREAM_PATHS = 16;
/** Of the box: width, height, depth. */
const LARGEST = [11, 4.6, 5] as const;
const LEAST_SIDE = 0.8;
const BOX_GAP = 1.1;
/** Share of the box that the paths fill. */
const FILLED = 0.94;

/** Colours of paths, told apart by the colour-blind too; each path also carries its token's name. */
export const STREAM_COLOURS: Record<Theme, readonly string[]> = {
  dark: ["#56b4e9", "#f0a430", "#2fd6a3", "#f0e442", "#e493cc", "#ff8f66", "#9aabff", "#c3cedf"],
  light: ["#0072b2", "#a86400", "#00795a", "#756a00", "#a2477f", "#bb3d0b", "#4453c4", "#54627e"],
};

/** The colour of the path that was chosen as the `order`-th. */
export function stream_colour(theme: Theme, order: number): string {
  const colours = STREAM_COLOURS[theme];
  return colours[order % colours.length]!;
}

export interface StreamBox {
  low: Vec3;
  high: Vec3;
}

/** The corners of a box, x fastest, then y, then z. */
export function box_corners({ low, high }: StreamBox): Vec3[] {
  const corners: Vec3[] = [];
  for (const z of [low[2], high[2]]) for (const y of [low[1], high[1]]) for (const x of [low[0], high[0]]) corners.push([x, y, z]);
  return corners;
}

/** The twelve edges of a box. */
export function box_edges(box: StreamBox): [Vec3, Vec3][] {
  const corners = box_corners(box);
  const edges: [Vec3, Vec3][] = [];
  for (let i = 0; i < 8; i++) {
    for (const bit of [1, 2, 4]) if (!(i & bit)) edges.push([corners[i]!, corners[i | bit]!]);
  }
  return edges;
}

/** Coordinates of every token and layer, float32 [n_positions, n_points, 3]. */
export interface StreamCoordinates {
  shape: readonly number[];
  values: ArrayLike<number>;
}

/** Where the paths lie: the box around them, world units by coordinate, and the coordinate in its middle. */
export interface StreamScale {
  box: StreamBox;
  unit: number;
  middle: Vec3;
}

/** The box above the network that the paths of `positions` fill, as large as there is room for. */
export function stream_scale(blocks: Blocks, coordinates: StreamCoordinates, positions: Iterable<number>): StreamScale {
  const { low, high } = extent(coordinates, positions);
  const ranges = [0, 1, 2].map((axis) => Math.max(high[axis]! - low[axis]!, 1e-9));
  const unit = Math.min(...ranges.map((range, axis) => (FILLED * LARGEST[axis]!) / range));
  // A path that hardly leaves a plane still has a box to be seen in.
  const [width, height, depth] = ranges.map((range) => Math.max((range * unit) / FILLED, LEAST_SIDE)) as [number, number, number];
  const [left, bottom] = [(SHEET_WIDTH - width) / 2, blocks.top + BOX_GAP];
  const middle = (axis: number): number => (Number.isFinite(low[axis]) ? (low[axis]! + high[axis]!) / 2 : 0);
  return {
    box: { low: [left, bottom, -depth], high: [left + width, bottom + height, 0] },
    unit, middle: [middle(0), middle(1), middle(2)],
  };
}

function extent(coordinates: StreamCoordinates, positions: Iterable<number>): { low: number[]; high: number[] } {
  const [n_positions = 0, n_points = 0] = coordinates.shape;
  const low = [Infinity, Infinity, Infinity];
  const high = [-Infinity, -Infinity, -Infinity];
  for (const pos of positions) {
    if (pos < 0 || pos >= n_positions) continue;
    for (let i = 3 * pos * n_points; i < 3 * (pos + 1) * n_points; i++) {
      const value = coordinates.values[i]!;
      if (value < low[i % 3]!) low[i % 3] = value;
      if (value > high[i % 3]!) high[i % 3] = value;
    }
  }
  return { low, high };
}

/** The points of one token's path, before layer 0 and after each layer; none where the answer has no such token. */
export function stream_points(
  coordinates: StreamCoordinates, pos: number, { unit, middle, box }: StreamScale,
): Vec3[] {
  const [n_positions = 0, n_points = 0] = coordinates.shape;
  if (pos < 0 || pos >= n_positions) return [];
  const centre = [0, 1, 2].map((axis) => (box.low[axis]! + box.high[axis]!) / 2);
  return Array.from({ length: n_points }, (_, point): Vec3 => {
    const at = 3 * (pos * n_points + point);
    const along = (axis: number): number => (coordinates.values[at + axis]! - middle[axis]!) * unit;
    return [centre[0]! + along(0), centre[1]! + along(1), centre[2]! - along(2)];
  });
}

/** What a point of a path is called: the stream before layer 0, or after a layer. */
export function stream_point_name(point: number): string {
  return point === 0 ? "embedding" : `after L${point - 1}`;
}
