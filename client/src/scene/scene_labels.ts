// Which labels the scene has at a moment, where they hang, and how much each matters.
import type { PerspectiveCamera } from "three";
import { layer_x, SHEET_WIDTH, rect_of, shown_span, type Blocks, type Rect } from "../layout/blocks";
import { component_id } from "../layout/component_id";
import type { ArcTarget } from "../layout/attention_arcs";
import type { Vec3 } from "../layout/framing";
import { component_of_node } from "../layout/node_id";
import { MAX_PAST_SHEETS } from "../layout/time_axis";
import { token_label } from "../layout/token_text";
import type { Component } from "../protocol/generated";
import { is_layer_shown, type LayerRange } from "../store/layer_range";
import type { StepRecord, TokenChip } from "../store/types";
import { CHIP_HEIGHT, type LabelSpec } from "./label_layer";
import { project, Standpoint, type Projected } from "./projection";

/** A label with a place of its own in the world. */
export interface PlacedLabel extends Pick<LabelSpec, "key" | "text" | "kind" | "align" | "priority" | "pos"> {
  point: Vec3;
  dx: number;
  dy: number;
  /** Least and largest, CSS pixels. */
  sizes: readonly [number, number];
}

export interface LabelScene {
  blocks: Blocks;
  layer_range: LayerRange | null;
  camera: PerspectiveCamera;
  width: number;
  height: number;
  current_pos: number;
  tokens: readonly TokenChip[];
  step: StepRecord | undefined;
  selection: Component | null;
  hovered: Component | null;
  arcs: readonly ArcTarget[];
  /** The tokens that an arc is being drawn between by hand. */
  turn: { from: number; to: number | null } | null;
  /** Of the shown attribution paths, what matters most first; and the tokens they start at, by share. */
  path_nodes: readonly { node: string; point: Vec3; state: string }[];
  path_tokens: ReadonlyMap<number, number>;
  /** How strongly earlier tokens are shown: 0 looking straight at the sheet. */
  past_strength: number;
  /** Of what else is shown, and of what the pointer is on there. */
  placed: readonly PlacedLabel[];
  pointed: PlacedLabel | null;
}

interface Placing extends Omit<LabelSpec, "x" | "y" | "size"> {
  dx?: number;
  dy?: number;
  /** Least and largest, CSS pixels. */
  sizes: readonly [number, number];
}

class Collector {
  readonly specs: LabelSpec[] = [];

  constructor(private readonly scene: LabelScene) {}

  /** A label at a point, sized by its distance between two bounds; outside the canvas there is none. */
  add(point: Vec3, spec: Placing): void {
    const { camera, width, height } = this.scene;
    this.add_at(project(point, camera, width, height), spec);
  }

  add_at(at: Projected | null, spec: Placing): void {
    const { camera, width, height } = this.scene;
    if (!at || at.x < -80 || at.y < -30 || at.x > width + 80 || at.y > height + 30) return;
    const { key, text, kind, align, opacity, priority, pos, sizes, dx = 0, dy = 0 } = spec;
    const pixels_per_unit = (camera.projectionMatrix.elements[5]! * 0.5 * height) / at.depth;
    const size = Math.max(sizes[0], Math.min(sizes[1], pixels_per_unit * 0.34));
    this.specs.push({ key, text, kind, align, opacity, priority, pos, x: at.x + dx, y: at.y + dy, size });
  }
}

const NOW_SIZES: readonly [number, number] = [13, 19];

/** Chips as big as the gap to the next one allows: every token's label is seen as long as it can be read. */
function room_for_token(here: Projected | null, next: Projected | null): readonly [number, number] {
  if (!here || !next) return [10, 16.5];
  const gap = Math.abs(here.y - next.y);
  return [9.5, Math.max(9.5, Math.min(16.5, (gap - 1.5) / CHIP_HEIGHT))];
}

/** A token's label stays the same as long as the token does. */
const TOKEN_LABELS = new WeakMap<TokenChip, string>();

function label_of(token: TokenChip): string {
  let label = TOKEN_LABELS.get(token);
  if (label === undefined) TOKEN_LABELS.set(token, (label = token_label(token.text)));
  return label;
}

function add_tokens(out: Collector, scene: LabelScene, standpoint: Standpoint): void {
  const { tokens, current_pos, arcs, camera } = scene;
  const read = new Map(arcs.map((arc) => [arc.key_pos, arc.weight]));
  const strongest = arcs[0]?.key_pos;
  const starts = scene.path_tokens;
  for (let pos = Math.min(current_pos, tokens.length - 1); pos >= 0; pos--) {
    const age = current_pos - pos;
    const weight = read.get(pos) ?? 0;
    const is_start = starts.has(pos) || pos === scene.turn?.from || pos === scene.turn?.to;
    if (age > 0 && scene.past_strength < 0.3 && weight < 0.03 && !is_start) continue;
    if (age > MAX_PAST_SHEETS + 40 && weight < 0.03 && !is_start) continue;
    const text = label_of(tokens[pos]!);
    const at = standpoint.anchor(age, camera);
    out.add_at(at, {
      key: `t${pos}`,
      text: weight >= 0.03 ? `${text}  ${weight.toFixed(2)}` : text,
      kind: age === 0 ? "token_now" : pos === (scene.turn ? scene.turn.to : strongest) || (starts.get(pos) ?? 0) > 0.3 ? "token_read" : "token",
      align: "right",
      dx: -12,
      sizes: age === 0 ? NOW_SIZES : room_for_token(at, standpoint.anchor(age + 1, camera)),
      opacity: age === 0 || weight >= 0.03 || is_start ? 1 : Math.max(0.45, 0.95 - age * 0.022),
      priority: age === 0 ? 100 : weight >= 0.03 || is_start ? 80 + weight : 60 - age * 0.5,
      pos,
    });
  }
}

function add_depth(out: Collector, scene: LabelScene): void {
  const { blocks, layer_range } = scene;
  const [first_layer, last_layer] = [layer_range?.first_layer ?? 0, layer_range?.last_layer ?? blocks.n_layers - 1];
  const right = Math.min(SHEET_WIDTH, shown_span(blocks, layer_range)[1]);
  for (let layer = first_layer; layer <= last_layer; layer++) {
    const round = layer % 10 === 0 ? 2 : layer % 5 === 0 ? 1 : 0;
    if (round === 0 && last_layer - first_layer >= 12) {
      const gap = (blocks.layer_pitch * scene.camera.projectionMatrix.elements[5]! * scene.height) / 2;
      if (gap / scene.camera.position.length() < 58) continue;
    }
    const point: Vec3 = [layer_x(blocks, layer), blocks.spine_y - 0.3, 0.06];
    out.add(point, { key: `l${layer}`, text: `L${layer}`, kind: "layer", align: "centre", dy: 6, sizes: [10.5, 14], opacity: 0.95, priority: 30 + round * 5 + (layer === last_layer ? 4 : 0) });
  }
  const captions: readonly [string, number, string][] = [
    ["attention heads", (blocks.heads_bottom + blocks.heads_top) / 2, "heads"],
    ["MLP neurons", (blocks.panel_bottom + blocks.panel_top) / 2, "neurons"],
  ];
  for (const [text, y, key] of captions) {
    out.add([right + 0.1, y, 0], { key: `c${key}`, text, kind: "axis", align: "left", dx: 6, sizes: [10, 12.5], opacity: 0.85, priority: 20 });
  }
}

function add_next_tokens(out: Collector, scene: LabelScene): void {
  const { blocks, step } = scene;
  const end = project([blocks.spine_to_x, blocks.spine_y, 0], scene.camera, scene.width, scene.height);
  const shown = (step?.top_tokens ?? []).slice(0, 5);
  shown.forEach((top, i) => {
    const share = Math.sqrt(Math.max(top.prob, 0));
    const percent = top.prob >= 0.9995 ? "100 %" : `${(top.prob * 100).toFixed(1)} %`;
    out.add_at(end, {
      key: `n${i}`,
      text: `${token_label(top.text)}  ${percent}`,
      kind: i === 0 ? "next_best" : "next",
      align: "left",
      dx: 14,
      dy: -(shown.length - 1 - i) * 23 - 2,
      sizes: [11 + 3 * share, 12.5 + 4.5 * share],
      opacity: 0.72 + 0.28 * share,
      priority: 90 - i,
    });
  });
}

const MAX_NODE_LABELS = 24;

function add_path_nodes(out: Collector, scene: LabelScene): void {
  scene.path_nodes.slice(0, MAX_NODE_LABELS).forEach(({ node, point, state }, i) => {
    const component = component_of_node(node);
    if (!component) return; // tokens and the logit have labels of their own
    out.add(point, {
      key: `p${node}`, text: component_id(component), kind: state === "here" ? "picked" : "weight", align: "centre",
      dy: -18, sizes: [11, 14], opacity: 1, priority: (state === "seen" ? 84 : 112) - i * 0.1,
    });
  });
}

function above(rect: Rect): Vec3 {
  return [rect.x + rect.w / 2, rect.y + rect.h, 0];
}

export class SceneLabels {
  private readonly standpoint = new Standpoint();
  /** Labels along the depth: as they were since the camera last moved, or other layers were shown. */
  private depth: readonly LabelSpec[] = [];
  private depth_range: LayerRange | null = null;

  /** Every label that could be shown; thinning decides which are. */
  collect(scene: LabelScene): LabelSpec[] {
    const { blocks, layer_range, selection, hovered } = scene;
    const is_elsewhere = this.standpoint.stand(blocks, scene.camera, scene.width, scene.height);
    if (is_elsewhere || layer_range !== this.depth_range) {
      this.depth_range = layer_range;
      const depth = new Collector(scene);
      add_depth(depth, scene);
      this.depth = depth.specs;
    }
    const out = new Collector(scene);
    const place_of = (component: Component | null): Rect | null =>
      component && is_layer_shown(layer_range, component.layer) ? rect_of(blocks, component) : null;
    const picked = place_of(selection);
    const is_walked = scene.path_nodes.some(({ state }) => state === "here");
    if (selection && picked && !is_walked) {
      out.add(above(picked), { key: "picked", text: component_id(selection), kind: "picked", align: "centre", dy: -20, sizes: [13, 17], opacity: 1, priority: 120 });
    }
    const under = place_of(hovered);
    if (hovered && under) {
      out.add(above(under), { key: "hover", text: component_id(hovered), kind: "hover", align: "centre", dy: -18, sizes: [12, 14], opacity: 1, priority: 110 });
    }
    if (scene.current_pos >= 0) add_tokens(out, scene, this.standpoint);
    add_next_tokens(out, scene);
    add_path_nodes(out, scene);
    for (const { point, ...label } of scene.placed) out.add(point, { ...label, opacity: 1 });
    if (scene.pointed) out.add(scene.pointed.point, { ...scene.pointed, opacity: 1 });
    out.specs.push(...this.depth);
    return out.specs;
  }
}
