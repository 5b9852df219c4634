// Which labels the scene has at a moment, where they hang, and how much each matters.
import { Vector3, type PerspectiveCamera } from "three";
import { layer_x, SHEET_WIDTH, rect_of, type Blocks, type Rect } from "../layout/blocks";
import { component_id } from "../layout/component_id";
import type { ArcTarget } from "../layout/attention_arcs";
import type { Vec3 } from "../layout/framing";
import { MAX_PAST_SHEETS, z_of_age } from "../layout/time_axis";
import { token_label } from "../layout/token_text";
import type { Component } from "../protocol/generated";
import type { StepRecord, TokenChip } from "../store/types";
import { CHIP_HEIGHT, type LabelSpec } from "./label_layer";

export interface LabelScene {
  blocks: Blocks;
  camera: PerspectiveCamera;
  width: number;
  height: number;
  current_pos: number;
  tokens: readonly TokenChip[];
  step: StepRecord | undefined;
  selection: Component | null;
  hovered: Component | null;
  arcs: readonly ArcTarget[];
  /** How strongly earlier tokens are shown: 0 looking straight at the sheet. */
  past_strength: number;
}

interface Projected {
  x: number;
  y: number;
  depth: number;
}

const SCRATCH = new Vector3();

/** Canvas pixels of a point of the world, and its distance; null behind the camera. */
export function project(point: Vec3, camera: PerspectiveCamera, width: number, height: number): Projected | null {
  SCRATCH.set(...(point as [number, number, number])).applyMatrix4(camera.matrixWorldInverse);
  const depth = -SCRATCH.z;
  if (depth <= camera.near) return null;
  SCRATCH.applyMatrix4(camera.projectionMatrix);
  return { x: (SCRATCH.x * 0.5 + 0.5) * width, y: (0.5 - SCRATCH.y * 0.5) * height, depth };
}

/** Where the label of a token hangs, and where arcs to it end. */
export function token_anchor(blocks: Blocks, age: number): Vec3 {
  return [blocks.spine_from_x, blocks.spine_y, z_of_age(age)];
}

class Collector {
  readonly specs: LabelSpec[] = [];

  constructor(private readonly scene: LabelScene) {}

  /** A label at a point, sized by its distance between two bounds; outside the canvas there is none. */
  add(point: Vec3, spec: Omit<LabelSpec, "x" | "y" | "size"> & { dx?: number; dy?: number; sizes: readonly [number, number] }): void {
    const { camera, width, height } = this.scene;
    const at = project(point, camera, width, height);
    if (!at || at.x < -80 || at.y < -30 || at.x > width + 80 || at.y > height + 30) return;
    const pixels_per_unit = (camera.projectionMatrix.elements[5]! * 0.5 * height) / at.depth;
    const [least, most] = spec.sizes;
    const size = Math.max(least, Math.min(most, pixels_per_unit * 0.34));
    this.specs.push({ ...spec, x: at.x + (spec.dx ?? 0), y: at.y + (spec.dy ?? 0), size });
  }
}

/** Chips as big as the gap to the next one allows: every token's label is seen as long as it can be read. */
function room_for_token(scene: LabelScene, age: number): readonly [number, number] {
  const [here, next] = [age, age + 1].map((a) => project(token_anchor(scene.blocks, a), scene.camera, scene.width, scene.height));
  if (!here || !next) return [10, 16.5];
  const gap = Math.abs(here.y - next.y);
  return [9.5, Math.max(9.5, Math.min(16.5, (gap - 1.5) / CHIP_HEIGHT))];
}

function add_tokens(out: Collector, scene: LabelScene): void {
  const { blocks, tokens, current_pos, arcs } = scene;
  const read = new Map(arcs.map((arc) => [arc.key_pos, arc.weight]));
  const strongest = arcs[0]?.key_pos;
  for (let pos = Math.min(current_pos, tokens.length - 1); pos >= 0; pos--) {
    const age = current_pos - pos;
    const weight = read.get(pos) ?? 0;
    if (age > 0 && scene.past_strength < 0.3 && weight < 0.03) continue;
    if (age > MAX_PAST_SHEETS + 40 && weight < 0.03) continue;
    const kind = age === 0 ? "token_now" : pos === strongest ? "token_read" : "token";
    const text = token_label(tokens[pos]!.text);
    out.add(token_anchor(blocks, age), {
      key: `t${pos}`,
      text: weight >= 0.03 ? `${text}  ${weight.toFixed(2)}` : text,
      kind,
      align: "right",
      dx: -12,
      sizes: age === 0 ? [13, 19] : room_for_token(scene, age),
      opacity: age === 0 || weight >= 0.03 ? 1 : Math.max(0.45, 0.95 - age * 0.022),
      priority: age === 0 ? 100 : weight >= 0.03 ? 80 + weight : 60 - age * 0.5,
      pos,
    });
  }
}

function add_depth(out: Collector, scene: LabelScene): void {
  const { blocks } = scene;
  for (let layer = 0; layer < blocks.n_layers; layer++) {
    const round = layer % 10 === 0 ? 2 : layer % 5 === 0 ? 1 : 0;
    if (round === 0 && blocks.n_layers > 12) {
      const gap = (blocks.layer_pitch * scene.camera.projectionMatrix.elements[5]! * scene.height) / 2;
      if (gap / scene.camera.position.length() < 58) continue;
    }
    const point: Vec3 = [layer_x(blocks, layer), blocks.spine_y - 0.3, 0.06];
    out.add(point, { key: `l${layer}`, text: `L${layer}`, kind: "layer", align: "centre", dy: 6, sizes: [10.5, 14], opacity: 0.95, priority: 30 + round * 5 + (layer === blocks.n_layers - 1 ? 4 : 0) });
  }
  const captions: readonly [string, number, string][] = [
    ["attention heads", (blocks.heads_bottom + blocks.heads_top) / 2, "heads"],
    ["MLP neurons", (blocks.panel_bottom + blocks.panel_top) / 2, "neurons"],
  ];
  for (const [text, y, key] of captions) {
    out.add([SHEET_WIDTH + 0.1, y, 0], { key: `c${key}`, text, kind: "axis", align: "left", dx: 6, sizes: [10, 12.5], opacity: 0.85, priority: 20 });
  }
}

function add_next_tokens(out: Collector, scene: LabelScene): void {
  const { blocks, step } = scene;
  const point: Vec3 = [blocks.spine_to_x, blocks.spine_y, 0];
  const shown = (step?.top_tokens ?? []).slice(0, 5);
  shown.forEach((top, i) => {
    const share = Math.sqrt(Math.max(top.prob, 0));
    const percent = top.prob >= 0.9995 ? "100 %" : `${(top.prob * 100).toFixed(1)} %`;
    out.add(point, {
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

function above(rect: Rect): Vec3 {
  return [rect.x + rect.w / 2, rect.y + rect.h, 0];
}

/** Every label that could be shown; thinning decides which are. */
export function collect_labels(scene: LabelScene): LabelSpec[] {
  const out = new Collector(scene);
  const { blocks, selection, hovered } = scene;
  const picked = selection && rect_of(blocks, selection);
  if (selection && picked) {
    out.add(above(picked), { key: "picked", text: component_id(selection), kind: "picked", align: "centre", dy: -20, sizes: [13, 17], opacity: 1, priority: 120 });
  }
  const under = hovered && rect_of(blocks, hovered);
  if (hovered && under) {
    out.add(above(under), { key: "hover", text: component_id(hovered), kind: "hover", align: "centre", dy: -18, sizes: [12, 14], opacity: 1, priority: 110 });
  }
  if (scene.current_pos >= 0) add_tokens(out, scene);
  add_next_tokens(out, scene);
  add_depth(out, scene);
  return out.specs;
}
