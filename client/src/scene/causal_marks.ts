// What was measured of the shown token's strongest components: a disc with + or − at each one's cell, as large as
// its effect. One draw call; the buffers are made once.
import { BufferAttribute, BufferGeometry, DynamicDrawUsage, Points, type RawShaderMaterial, Vector3 } from "three";
import type { Blocks } from "../layout/blocks";
import { colour_at } from "../layout/colour";
import { node_of } from "../layout/node_id";
import { node_point } from "../layout/path_places";
import { live_effects } from "../store/live_causal";
import type { Store } from "../store/store";
import type { Theme } from "../store/types";
import { ink_material } from "./ink_material";
import { rgb_floats, type SceneTheme } from "./theme";

const MAX_MARKS = 64;

const VERTEX = /* glsl */ `
precision highp float;
uniform mat4 projectionMatrix, viewMatrix;
uniform float u_pixel_ratio;
in vec3 position;
in vec2 a_look; // share of the largest, sign
out float v_sign;
out float v_size;
void main() {
  gl_Position = projectionMatrix * viewMatrix * vec4(position, 1.0);
  v_size = (11.0 + 13.0 * sqrt(a_look.x)) * u_pixel_ratio;
  gl_PointSize = v_size;
  v_sign = a_look.y;
}`;

const FRAGMENT = /* glsl */ `
precision highp float;
uniform vec3 u_positive, u_negative, u_ground;
uniform float u_pixel_ratio;
in float v_sign;
in float v_size;
out vec4 colour;
float bar(vec2 p, vec2 half_size) {
  vec2 inside = 1.0 - smoothstep(half_size - 0.5, half_size + 0.5, abs(p));
  return inside.x * inside.y;
}
void main() {
  vec2 p = (gl_PointCoord - 0.5) * v_size;
  float radius = 0.5 * v_size - 1.0;
  float d = length(p);
  float disc = 1.0 - smoothstep(radius - 1.0, radius, d);
  if (disc < 0.01) discard;
  vec2 arm = vec2(0.55 * radius, max(0.8 * u_pixel_ratio, 0.13 * radius));
  float glyph = v_sign > 0.0 ? max(bar(p, arm), bar(p, arm.yx)) : bar(p, arm);
  float rim = smoothstep(radius - 1.8 * u_pixel_ratio, radius - 0.8 * u_pixel_ratio, d);
  vec3 rgb = v_sign > 0.0 ? u_positive : u_negative;
  colour = vec4(mix(rgb, u_ground, max(glyph, rim)) * disc, disc);
}`;

export class CausalMarks {
  readonly mesh: Points;
  private readonly geometry = new BufferGeometry();
  private readonly material: RawShaderMaterial;
  private readonly points = new BufferAttribute(new Float32Array(MAX_MARKS * 3), 3).setUsage(DynamicDrawUsage);
  private readonly looks = new BufferAttribute(new Float32Array(MAX_MARKS * 2), 2).setUsage(DynamicDrawUsage);
  /** How many are drawn now. */
  count = 0;

  constructor(private readonly store: Store) {
    this.geometry.setAttribute("position", this.points);
    this.geometry.setAttribute("a_look", this.looks);
    this.material = ink_material(VERTEX, FRAGMENT, {
      u_pixel_ratio: { value: 1 },
      u_positive: { value: new Vector3() },
      u_negative: { value: new Vector3() },
      u_ground: { value: new Vector3() },
    });
    this.mesh = new Points(this.geometry, this.material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = 8;
    this.mesh.visible = false;
  }

  /** Anew from the store: none while the switch is off, or where the shown token was not measured. */
  update(blocks: Blocks | null): void {
    const { store } = this;
    const pos = store.current_pos.peek();
    const is_on = blocks !== null && store.is_measuring_live.peek();
    const effects = (is_on ? live_effects(store.history.get(pos)) : null) ?? [];
    const largest = Math.max(...effects.map(({ measured }) => Math.abs(measured)), 1e-12);
    this.count = 0;
    for (const { component, measured } of effects.slice(0, MAX_MARKS)) {
      const point = node_point(blocks!, node_of(component, pos), pos);
      if (!point) continue;
      this.points.setXYZ(this.count, ...(point as [number, number, number]));
      this.looks.setXY(this.count, Math.abs(measured) / largest, measured < 0 ? -1 : 1);
      this.count++;
    }
    this.points.needsUpdate = this.looks.needsUpdate = true;
    this.geometry.setDrawRange(0, this.count);
    this.mesh.visible = this.count > 0;
  }

  set_theme(theme: SceneTheme, name: Theme): void {
    const set = (uniform: string, rgb: readonly [number, number, number]): void => {
      (this.material.uniforms[uniform]!.value as Vector3).set(...rgb);
    };
    const of = (at: number): readonly [number, number, number] => {
      const [r, g, b] = colour_at("direct_logit", name, at);
      return [r / 255, g / 255, b / 255];
    };
    set("u_positive", of(0.88));
    set("u_negative", of(0.12));
    set("u_ground", rgb_floats(theme.panel));
  }

  set_pixel_ratio(pixel_ratio: number): void {
    this.material.uniforms["u_pixel_ratio"]!.value = pixel_ratio;
  }

  dispose(): void {
    this.geometry.dispose();
    this.material.dispose();
  }
}
