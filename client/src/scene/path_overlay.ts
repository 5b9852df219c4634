// The attribution paths in the scene: a line an edge, from token to token through the slabs, and a mark a node.
import type { PerspectiveCamera } from "three";
import { type Blocks } from "../layout/blocks";
import { colour_at } from "../layout/colour";
import type { Vec3 } from "../layout/framing";
import { component_of_node, parse_node } from "../layout/node_id";
import { curve_point, MAX_PATH_EDGES, MAX_PATH_NODES, node_point, path_controls } from "../layout/path_places";
import { edge_share } from "../store/graph";
import { drawn_file, drawn_text } from "../store/drawn_text";
import { is_layer_shown, peek_shown_layers } from "../store/layer_range";
import type { Store } from "../store/store";
import type { Theme } from "../store/types";
import { Arcs, type Arc } from "./arcs";
import { NodeMarks, type NodeMark } from "./node_marks";
import { project } from "./projection";
import { rgb_floats, type SceneTheme } from "./theme";

/** Many lines lie over each other: each glows less than one of a head's few arcs. */
const PATH_GLOW = 0.3;
/** A click within so many CSS pixels of a mark, or of a line, means it. */
const NODE_REACH_PX = 9;
const LINE_REACH_PX = 5;
const LINE_SAMPLES = 24;

interface Line {
  controls: readonly Vec3[];
  writer: string;
}

export class PathOverlay {
  private readonly arcs = new Arcs(MAX_PATH_EDGES);
  private readonly node_marks = new NodeMarks();
  readonly meshes = [this.arcs.mesh, this.node_marks.mesh];
  /** What is drawn now, strongest first; none while "why" is not looked at. */
  marks: readonly NodeMark[] = [];
  private lines: readonly Line[] = [];
  /** Tokens that the drawn paths start at, with their share of the largest. */
  tokens: ReadonlyMap<number, number> = new Map();

  constructor(private readonly store: Store) {}

  get is_shown(): boolean {
    return this.marks.length > 0;
  }

  /** Anew from the store. */
  update(blocks: Blocks | null): void {
    const { walk } = this.store.analysis;
    const file = drawn_file(this.store);
    const graph = file?.graph ?? (walk.is_open.peek() ? walk.graph.peek() : null);
    this.marks = [];
    this.lines = [];
    const arcs: Arc[] = [];
    if (graph && blocks) {
      const current = drawn_text(this.store).current_pos;
      const points = new Map<string, Vec3>();
      const range = peek_shown_layers(this.store);
      for (const { node } of graph.nodes) {
        const component = component_of_node(node);
        if (component && !is_layer_shown(range, component.layer)) continue;
        const point = node_point(blocks, node, current);
        if (point) points.set(node, point);
      }
      const lines: Line[] = [];
      for (const edge of graph.edges.slice(0, MAX_PATH_EDGES)) {
        const [from, to] = [points.get(edge.writer), points.get(edge.reader)];
        if (!from || !to) continue;
        const controls = path_controls(from, to);
        lines.push({ controls, writer: edge.writer });
        arcs.push({ controls, weight: Math.sign(edge.weight) * Math.max(0.004, edge_share(edge, graph)) });
      }
      this.lines = lines;
      this.marks = marks_of(graph.nodes, points, file ? null : walk.node.peek());
    }
    const starts = this.marks.filter((mark) => parse_node(mark.node)?.kind === "embed");
    const largest = Math.max(...starts.map((mark) => mark.share), 1e-12);
    this.tokens = new Map(starts.map((mark) => [parse_node(mark.node)!.pos, mark.share / largest]));
    this.arcs.set(arcs.reverse());
    this.node_marks.show(this.marks);
  }

  /** The node that is seen at a point of the canvas, CSS pixels: its mark, or the writer of a line through it. */
  pick(camera: PerspectiveCamera, size: readonly [number, number], x: number, y: number): string | null {
    let [found, nearest]: [string | null, number] = [null, NODE_REACH_PX];
    for (const { node, point } of this.marks) {
      const at = project(point, camera, ...size);
      const distance = at ? Math.hypot(at.x - x, at.y - y) : Infinity;
      if (distance < nearest) [found, nearest] = [node, distance];
    }
    return found ?? this.pick_line(camera, size, x, y);
  }

  private pick_line(camera: PerspectiveCamera, size: readonly [number, number], x: number, y: number): string | null {
    let [found, nearest]: [string | null, number] = [null, LINE_REACH_PX];
    for (const { controls, writer } of this.lines) {
      let before = project(curve_point(controls, 0), camera, ...size);
      for (let i = 1; i <= LINE_SAMPLES; i++) {
        const at = project(curve_point(controls, i / LINE_SAMPLES), camera, ...size);
        const distance = before && at ? segment_distance(x, y, before, at) : Infinity;
        if (distance < nearest) [found, nearest] = [writer, distance];
        before = at;
      }
    }
    return found;
  }

  set_theme(theme: SceneTheme, name: Theme): void {
    const of = (at: number): readonly [number, number, number] => {
      const [r, g, b] = colour_at("direct_logit", name, at);
      return [r / 255, g / 255, b / 255];
    };
    const [positive, negative] = [of(0.85), of(0.15)];
    this.arcs.set_colours(positive, negative, PATH_GLOW * theme.glow);
    this.node_marks.set_colours({ positive, negative, here: rgb_floats(theme.node), ground: rgb_floats(theme.panel) });
  }

  set_viewport(width: number, height: number, pixel_ratio: number): void {
    this.arcs.set_viewport(width, height, pixel_ratio);
    this.node_marks.set_pixel_ratio(pixel_ratio);
  }

  dispose(): void {
    this.arcs.dispose();
    this.node_marks.dispose();
  }
}

function marks_of(
  nodes: readonly { node: string; relevance: number | null; pin: unknown }[],
  points: ReadonlyMap<string, Vec3>,
  here: string | null,
): NodeMark[] {
  const largest = Math.max(...nodes.map(({ relevance }) => Math.abs(relevance ?? 0)), 1e-12);
  const marks = nodes.flatMap(({ node, relevance, pin }): NodeMark[] => {
    const point = points.get(node);
    if (!point) return [];
    const state = node === here ? "here" : pin ? "pinned" : "seen";
    return [{ node, point, share: Math.abs(relevance ?? 0) / largest, is_negative: (relevance ?? 0) < 0, state }];
  });
  const rank = (mark: NodeMark): number => (mark.state === "seen" ? 0 : 2) + mark.share;
  return marks.sort((a, b) => rank(b) - rank(a)).slice(0, MAX_PATH_NODES);
}

function segment_distance(x: number, y: number, a: { x: number; y: number }, b: { x: number; y: number }): number {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const length = dx * dx + dy * dy;
  const t = length > 0 ? Math.max(0, Math.min(1, ((x - a.x) * dx + (y - a.y) * dy) / length)) : 0;
  return Math.hypot(a.x + t * dx - x, a.y + t * dy - y);
}
