// Earlier tokens' sheets: their loudest cells as points, all tokens in one draw call. Covering the screen with a
// quad a token would cost a software rasteriser a hundred times as much for the same picture.
import { BufferAttribute, BufferGeometry, DynamicDrawUsage, Points, type RawShaderMaterial, Vector2, Vector3 } from "three";
import type { Blocks } from "../layout/blocks";
import type { ColourMap } from "../layout/colour";
import { encode_step, type SheetCodes } from "../layout/encode";
import { plan_points, POINT_FLOATS, write_layer_points, type PointPlan } from "../layout/loudest";
import { fade_of_age, MAX_PAST_SHEETS, z_of_age } from "../layout/time_axis";
import type { DisplayChannel, StepRecord } from "../store/types";
import { ink_material } from "./ink_material";
import { SlotTable } from "./slot_table";
import { everywhere, set_span } from "./span_uniform";

const SLOTS = MAX_PAST_SHEETS + 2;
/** Cells looked through in one frame: a huge model's token takes several, and no frame waits for it. */
const CELLS_PER_FRAME = 300_000;

const VERTEX = /* glsl */ `
precision highp float;
uniform mat4 projectionMatrix, viewMatrix;
uniform vec2 u_viewport;
uniform vec2 u_sheets[${SLOTS}]; // z and strength
uniform int u_points;            // a sheet
uniform vec2 u_span;             // from and to where on x anything is shown
uniform vec3 u_colours[4];       // quiet and loud, of positive and of negative values
in vec4 position;                // x, y, value, side of its cell (negative: a disc)
flat out vec4 v_colour;
flat out float v_disc;
void main() {
  vec2 sheet = u_sheets[gl_VertexID / u_points];
  gl_Position = projectionMatrix * viewMatrix * vec4(position.xy, sheet.x, 1.0);
  float side = abs(position.w) * 0.84 * projectionMatrix[1][1] * 0.5 * u_viewport.y / max(gl_Position.w, 0.05);
  v_disc = step(position.w, 0.0);
  // A point smaller than a pixel is a fainter pixel.
  float shown = max(side, v_disc > 0.5 ? 2.0 : 1.35);
  float size = min(abs(position.z), 1.0);
  float alpha = sheet.y * (v_disc > 0.5 ? 0.28 * smoothstep(0.35, 1.0, size) : smoothstep(0.2, 0.8, size)) * min(1.0, 0.4 + side / shown);
  vec3 rgb = position.z < 0.0 ? mix(u_colours[2], u_colours[3], size) : mix(u_colours[0], u_colours[1], size);
  v_colour = vec4(rgb, 1.0) * alpha;
  gl_PointSize = shown;
  bool left_out = position.x < u_span.x || position.x > u_span.y;
  if (position.w == 0.0 || left_out || alpha < 0.004) gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
}`;

const FRAGMENT = /* glsl */ `
precision mediump float;
flat in vec4 v_colour;
flat in float v_disc;
out vec4 colour;
void main() {
  float d = length(gl_PointCoord - 0.5);
  colour = v_colour * mix(1.0, 1.0 - smoothstep(0.4, 0.5, d), v_disc);
}`;

interface Job {
  pos: number;
  slot: number;
  codes: SheetCodes;
  next_layer: number;
}

export class PastSheets {
  readonly mesh: Points;
  private readonly plan: PointPlan;
  private readonly points: Float32Array;
  private readonly attribute: BufferAttribute;
  private readonly geometry = new BufferGeometry();
  private readonly material: RawShaderMaterial;
  private readonly slots = new SlotTable(SLOTS);
  private readonly scratch: Int8Array;
  private job: Job | null = null;

  constructor(private readonly blocks: Blocks) {
    this.plan = plan_points(blocks);
    this.points = new Float32Array(SLOTS * this.plan.points * POINT_FLOATS);
    this.attribute = new BufferAttribute(this.points, POINT_FLOATS).setUsage(DynamicDrawUsage);
    this.geometry.setAttribute("position", this.attribute);
    this.scratch = new Int8Array(blocks.n_layers * blocks.d_mlp);
    this.material = ink_material(
      VERTEX,
      FRAGMENT,
      {
        u_viewport: { value: new Vector2(1, 1) },
        u_sheets: { value: Array.from({ length: SLOTS }, () => new Vector2()) },
        u_points: { value: this.plan.points },
        u_span: { value: everywhere() },
        u_colours: { value: Array.from({ length: 4 }, () => new Vector3()) },
      },
      true,
    );
    this.mesh = new Points(this.geometry, this.material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = 4;
  }

  /**
   * Bring up what changed among earlier tokens, nearest first, within a frame's budget; true when more is left.
   * `sources_of` says what a token's points are made from.
   */
  advance(steps: readonly StepRecord[], channel: DisplayChannel, sources_of: (step: StepRecord) => readonly unknown[]): boolean {
    const shown = new Set(steps.map((step) => step.pos));
    let budget = CELLS_PER_FRAME;
    if (this.job) {
      const step = steps.find((one) => one.pos === this.job!.pos);
      if (step && this.slots.holds(step.pos, sources_of(step))) budget -= this.work(budget);
      else this.abandon();
    }
    for (const step of steps) {
      if (this.job || budget <= 0) return true;
      const sources = sources_of(step);
      if (this.slots.holds(step.pos, sources)) continue;
      const slot = this.slots.claim(step.pos, sources, shown);
      if (slot === null) continue;
      this.job = { pos: step.pos, slot, codes: encode_step(step, channel, this.blocks, this.scratch), next_layer: 0 };
      budget -= this.work(budget);
    }
    return this.job !== null;
  }

  /** A half-written token whose turn is over: its part of the buffer counts as empty. */
  private abandon(): void {
    if (this.job) this.slots.forget(this.job.pos);
    this.job = null;
  }

  private work(budget: number): number {
    const { job, blocks, plan } = this;
    if (!job) return 0;
    const sheet_floats = plan.points * POINT_FLOATS;
    const layers = Math.max(1, Math.floor(budget / Math.max(1, blocks.d_mlp)));
    const to = Math.min(blocks.n_layers, job.next_layer + layers);
    const from = job.next_layer;
    for (let layer = from; layer < to; layer++) {
      write_layer_points(this.points, job.slot * sheet_floats, layer, job.codes.neurons, job.codes.blocks_codes, blocks, plan);
    }
    const layer_floats = sheet_floats / blocks.n_layers;
    this.attribute.addUpdateRange(job.slot * sheet_floats + from * layer_floats, (to - from) * layer_floats);
    this.attribute.needsUpdate = true;
    job.next_layer = to;
    if (to === blocks.n_layers) this.job = null;
    return (to - from) * blocks.d_mlp + 1;
  }

  /** Where the sheets stand now; `strength` 0 hides them all. */
  place(positions: readonly number[], current_pos: number, strength: number): void {
    const sheets = this.material.uniforms["u_sheets"]!.value as Vector2[];
    for (const sheet of sheets) sheet.set(0, 0);
    for (const pos of positions) {
      const held = this.slots.get(pos);
      const age = current_pos - pos;
      if (held && age > 0) sheets[held.slot]!.set(z_of_age(age), fade_of_age(age) * strength);
    }
    this.mesh.visible = strength > 0.01;
  }

  set_colours(map: ColourMap): void {
    const entries = map.diverging ? [170, 225, 85, 30] : [95, 205, 95, 205];
    entries.forEach((entry, i) => {
      const [r, g, b] = map.lut.subarray(entry * 4);
      (this.material.uniforms["u_colours"]!.value as Vector3[])[i]!.set(r! / 255, g! / 255, b! / 255);
    });
  }

  /** Only what lies between, on x, is drawn. */
  set_span(span: readonly [number, number]): void {
    set_span(this.material.uniforms, span);
  }

  set_viewport(width: number, height: number): void {
    (this.material.uniforms["u_viewport"]!.value as Vector2).set(width, height);
  }

  /** Forget every token: the run was rewound. */
  clear(): void {
    this.slots.clear();
    this.job = null;
  }

  dispose(): void {
    this.geometry.dispose();
    this.material.dispose();
  }
}
