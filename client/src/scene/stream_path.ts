// The residual stream's paths in the scene: a box above the network with a line for each chosen token, from the
// embedding (thin) to the last layer (thick), a dot a layer.
import type { PerspectiveCamera } from "three";
import type { Blocks } from "../layout/blocks";
import { parse_hex } from "../layout/colour";
import type { Vec3 } from "../layout/framing";
import {
  box_corners, box_edges, MAX_STREAM_PATHS, stream_colour, stream_point_name, stream_points, stream_scale,
  type StreamBox, type StreamScale,
} from "../layout/stream_places";
import { token_label } from "../layout/token_text";
import type { StreamPcaAnswer } from "../protocol/questions";
import { is_stream_point_shown, peek_shown_layers, type LayerRange } from "../store/layer_range";
import type { Store } from "../store/store";
import { chosen_paths, stream_answer, type ChosenPath } from "../store/stream_paths";
import type { Theme } from "../store/types";
import { project } from "./projection";
import type { PlacedLabel } from "./scene_labels";
import { Segments, type Segment } from "./segments";
import { rgb_floats, type SceneTheme } from "./theme";

const CAPACITY = 4096;
/** Above the box, world units: for what is written there, below the page's own buttons. */
const TITLE_ROOM = 1;
const REACH_PX = 9;
/** What is left of a line in layers that are not looked at. */
const FAINT = 0.12;
/** Half widths in CSS pixels: of the line before the first and after the last layer. */
const [THIN, THICK] = [0.5, 1.7];

/** Where a path's name hangs from its end: many end near each other. */
const END_PLACES: readonly Pick<PlacedLabel, "align" | "dx" | "dy">[] = [
  { align: "left", dx: 10, dy: 0 }, { align: "left", dx: 6, dy: -18 }, { align: "right", dx: -6, dy: -18 },
  { align: "left", dx: 6, dy: 18 }, { align: "right", dx: -6, dy: 18 },
];

interface DrawnPath extends ChosenPath {
  points: readonly Vec3[];
}

/** A dot of a path: `point` 0 is the stream before layer 0, then after each layer. */
export interface StreamDot {
  pos: number;
  point: number;
}

export class StreamPathOverlay {
  private readonly segments = new Segments(CAPACITY, 5);
  readonly meshes = [this.segments.mesh];
  /** What is written beside the paths. */
  labels: readonly PlacedLabel[] = [];
  /** What the camera must make room for; empty while nothing is shown. */
  corners: readonly Vec3[] = [];
  private paths: readonly DrawnPath[] = [];
  private layer_range: LayerRange | null = null;
  private hovered: StreamDot | null = null;
  private scaled: { answer: StreamPcaAnswer; blocks: Blocks; key: string; scale: StreamScale } | null = null;
  private theme: SceneTheme | null = null;
  private theme_name: Theme = "dark";

  constructor(private readonly store: Store) {}

  /** Anew from the store. */
  update(blocks: Blocks | null): void {
    const answer = blocks && this.store.stream.is_shown.peek() ? stream_answer(this.store) : null;
    if (!blocks || !answer || !this.theme) {
      this.paths = this.labels = this.corners = [];
      this.segments.set([]);
      return;
    }
    this.layer_range = peek_shown_layers(this.store);
    const { coordinates } = answer;
    const [n_positions = 0] = coordinates.shape;
    const chosen = chosen_paths(this.store.stream.pinned.peek(), this.store.current_pos.peek(), n_positions, MAX_STREAM_PATHS);
    const scale = this.scale_of(blocks, answer, chosen);
    const { high } = scale.box;
    this.corners = [...box_corners(scale.box), [high[0], high[1] + TITLE_ROOM, high[2]]];
    this.paths = chosen.map((path) => ({ ...path, points: stream_points(coordinates, path.pos, scale) }));
    this.segments.set([...this.box_lines(scale.box, this.theme), ...this.path_lines()]);
    this.labels = this.all_labels(answer, scale.box);
  }

  /** The scale of all paths that shaped the axes, and of chosen ones that did not; the same from token to token. */
  private scale_of(blocks: Blocks, answer: StreamPcaAnswer, chosen: readonly ChosenPath[]): StreamScale {
    const skipped = chosen.map(({ pos }) => pos).filter((pos) => pos < answer.skip_first);
    const key = skipped.join(" ");
    const { scaled } = this;
    if (scaled?.answer === answer && scaled.blocks === blocks && scaled.key === key) return scaled.scale;
    const [n_positions = 0] = answer.coordinates.shape;
    const shaping = Array.from({ length: n_positions - answer.skip_first }, (_, i) => answer.skip_first + i);
    const scale = stream_scale(blocks, answer.coordinates, [...shaping, ...skipped]);
    this.scaled = { answer, blocks, key, scale };
    return scale;
  }

  private box_lines(box: StreamBox, theme: SceneTheme): Segment[] {
    const rgb = rgb_floats(theme.rail);
    const axes = box_edges(box).map(([from, to]): Segment => {
      // The three edges that meet at the near lower left corner are the axes.
      const is_axis = [from, to].some(([x, y, z]) => x === box.low[0] && y === box.low[1] && z === box.high[2]);
      return { from, to, rgb, half_width: is_axis ? 1 : 0.5, alpha: is_axis ? 0.95 : 0.5 };
    });
    return axes;
  }

  /** Points of a path in the shown layers. */
  private shown_points(path: DrawnPath): number[] {
    return [...path.points.keys()].filter((point) => is_stream_point_shown(this.layer_range, point));
  }

  private path_lines(): Segment[] {
    return this.paths.flatMap((path) => {
      const [r, g, b] = parse_hex(stream_colour(this.theme_name, path.order));
      const rgb = [r / 255, g / 255, b / 255] as const;
      const strong = path.is_current ? 1.5 : 1;
      const last = path.points.length - 1;
      const width = (point: number): number => strong * (THIN + ((THICK - THIN) * point) / Math.max(1, last));
      const shown = this.shown_points(path);
      const is_shown = (point: number): boolean => is_stream_point_shown(this.layer_range, point);
      const lines = path.points.slice(1).map((to, i): Segment => (
        { from: path.points[i]!, to, rgb, half_width: width(i + 1),
          alpha: (path.is_current ? 1 : 0.82) * (is_shown(i) && is_shown(i + 1) ? 1 : FAINT) }
      ));
      const dots = shown.map((point): Segment => (
        { from: path.points[point]!, to: path.points[point]!, rgb, half_width: width(point) + (point === shown.at(-1) ? 3 : 1), alpha: 1 }
      ));
      return [...lines, ...dots];
    });
  }

  private all_labels(answer: StreamPcaAnswer, box: StreamBox): PlacedLabel[] {
    const percent = (share: number): string => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;
    const shares = Array.from(answer.explained.values);
    const { low, high } = box;
    const ends: readonly Vec3[] = [[high[0], low[1], high[2]], [low[0], high[1], high[2]], [low[0], low[1], low[2]]];
    const axes = ends.map((point, axis): PlacedLabel => ({
      key: `sa${axis}`, text: `axis ${axis + 1}: ${percent(shares[axis] ?? 0)}`, point, kind: "axis",
      align: axis === 0 ? "left" : "right", dx: axis === 0 ? 8 : -8, dy: 0, sizes: [11, 13], priority: 70,
    }));
    const total = shares.reduce((sum, share) => sum + share, 0);
    const title: PlacedLabel = {
      key: "st", text: `residual stream: ${percent(total)} of its variance`,
      point: [high[0], high[1], high[2]], kind: "axis", align: "left", dx: 8, dy: 0, sizes: [11, 13],
      priority: 69,
    };
    return [title, ...axes, ...this.paths.flatMap((path) => this.path_labels(path))];
  }

  private path_labels(path: DrawnPath): PlacedLabel[] {
    const shown = this.shown_points(path);
    const last = shown.at(-1) ?? path.points.length - 1;
    const text = token_label(this.store.tokens.peek()[path.pos]?.text ?? "");
    const end: PlacedLabel = {
      key: `se${path.pos}`, text: path.is_current ? text : `${text}  ${path.pos}`, point: path.points[last]!,
      kind: path.is_current ? "token_now" : "token", ...END_PLACES[path.is_current ? 0 : 1 + (path.order % 4)]!, sizes: [11, 14],
      priority: path.is_current ? 99 : 88 - path.order * 0.1, pos: path.pos,
    };
    if (!path.is_current) return [end];
    const every = Math.max(1, Math.round((shown.length - 1) / 5));
    const named = shown.filter((i, at) => at % every === 0 && i < last).map((i): PlacedLabel => (
      { key: `sl${i}`, text: i === 0 ? "embed" : `L${i - 1}`, point: path.points[i]!, kind: "layer", align: "centre", dx: 0, dy: -11,
        sizes: [10, 12], priority: 65 }
    ));
    return [end, ...named];
  }

  /** The dot under a point of the canvas, CSS pixels; of the shown token's path first. */
  pick(camera: PerspectiveCamera, size: readonly [number, number], x: number, y: number): StreamDot | null {
    let [found, nearest]: [StreamDot | null, number] = [null, REACH_PX];
    for (const path of [...this.paths].reverse()) {
      this.shown_points(path).forEach((point) => {
        const at = project(path.points[point]!, camera, ...size);
        const distance = at ? Math.hypot(at.x - x, at.y - y) : Infinity;
        if (distance < nearest) [found, nearest] = [{ pos: path.pos, point }, distance];
      });
    }
    return found;
  }

  /** Name the dot under the pointer; true where that changed. */
  hover(dot: StreamDot | null): boolean {
    if (dot?.pos === this.hovered?.pos && dot?.point === this.hovered?.point) return false;
    this.hovered = dot;
    return true;
  }

  /** What is written beside the dot under the pointer. */
  get hover_label(): PlacedLabel | null {
    const place = this.hovered && this.place_of(this.hovered);
    if (!this.hovered || !place) return null;
    const text = token_label(this.store.tokens.peek()[this.hovered.pos]?.text ?? "");
    return {
      key: "sh", text: `${text} · ${stream_point_name(this.hovered.point)}`, point: place, kind: "hover", align: "centre",
      dx: 0, dy: -16, sizes: [12, 14], priority: 115,
    };
  }

  place_of({ pos, point }: StreamDot): Vec3 | null {
    return this.paths.find((path) => path.pos === pos)?.points[point] ?? null;
  }

  set_theme(theme: SceneTheme, name: Theme): void {
    this.theme = theme;
    this.theme_name = name;
  }

  set_viewport(width: number, height: number, pixel_ratio: number): void {
    this.segments.set_viewport(width, height, pixel_ratio);
  }

  dispose(): void {
    this.segments.dispose();
  }
}
