// Attention of the selected head: ribbons back in time to the tokens it reads, one draw call for all of them.
// The curve is worked out in the vertex shader; the geometry never changes.
import {
  DynamicDrawUsage,
  InstancedBufferAttribute,
  InstancedBufferGeometry,
  BufferAttribute,
  Mesh,
  type RawShaderMaterial,
  Vector2,
  Vector3,
} from "three";
import { arc_controls, MAX_ARCS } from "../layout/attention_arcs";
import type { Vec3 } from "../layout/framing";
import { ink_material } from "./ink_material";
import { rgb_floats, type SceneTheme } from "./theme";

const SEGMENTS = 56;

const VERTEX = /* glsl */ `
precision highp float;
uniform mat4 projectionMatrix, viewMatrix;
uniform vec2 u_viewport;
uniform float u_pixel_ratio;
in vec3 position;      // share of the way along, side
in vec3 a_p0, a_p1, a_p2, a_p3;
in float a_weight;
out float v_side;
out float v_t;
flat out float v_half;
flat out float v_weight;
vec4 at(float t) {
  float u = 1.0 - t;
  vec3 p = u * u * u * a_p0 + 3.0 * u * u * t * a_p1 + 3.0 * u * t * t * a_p2 + t * t * t * a_p3;
  return projectionMatrix * viewMatrix * vec4(p, 1.0);
}
void main() {
  float t = position.x;
  vec4 here = at(t);
  vec4 before = at(max(t - 0.012, 0.0)), after = at(min(t + 0.012, 1.0));
  vec2 along = (after.xy / max(after.w, 0.01) - before.xy / max(before.w, 0.01)) * u_viewport;
  along = length(along) > 1e-5 ? normalize(along) : vec2(1.0, 0.0);
  // Nearer parts are wider, as a solid ribbon would be.
  float perspective = clamp(projectionMatrix[1][1] * 9.0 / max(here.w, 0.5), 0.6, 1.8);
  float half_width = (0.7 + 3.6 * sqrt(a_weight)) * 0.62 * perspective * u_pixel_ratio;
  float reach = half_width * 2.6 + 1.0;
  vec2 offset = vec2(-along.y, along.x) * position.y * reach;
  here.xy += offset / (0.5 * u_viewport) * here.w;
  v_side = position.y * reach;
  v_half = half_width;
  v_weight = a_weight;
  v_t = t;
  gl_Position = here;
}`;

const FRAGMENT = /* glsl */ `
precision highp float;
uniform vec3 u_colour;
uniform float u_glow;
in float v_side;
in float v_t;
flat in float v_half;
flat in float v_weight;
out vec4 colour;
void main() {
  float d = abs(v_side);
  float core = 1.0 - smoothstep(v_half - 0.8, v_half + 0.6, d);
  float halo = exp(-1.6 * max(d - v_half, 0.0) / v_half) * (1.0 - smoothstep(v_half * 1.8, v_half * 2.6, d));
  float strength = clamp(0.28 + 0.9 * sqrt(v_weight), 0.0, 1.0);
  vec3 rgb = mix(u_colour, vec3(1.0), 0.22 * u_glow * core * (1.0 - smoothstep(0.0, v_half, d)));
  colour = vec4(rgb * strength * (core + 0.22 * halo * u_glow), core * strength);
}`;

export interface Arc {
  token: Vec3;
  weight: number;
}

export class Arcs {
  readonly mesh: Mesh;
  private readonly geometry = new InstancedBufferGeometry();
  private readonly material: RawShaderMaterial;
  private readonly controls: InstancedBufferAttribute[];
  private readonly weights: InstancedBufferAttribute;

  constructor() {
    const strip = new Float32Array((SEGMENTS + 1) * 6);
    const index: number[] = [];
    for (let i = 0; i <= SEGMENTS; i++) {
      strip.set([i / SEGMENTS, -1, 0, i / SEGMENTS, 1, 0], i * 6);
      if (i < SEGMENTS) index.push(2 * i, 2 * i + 1, 2 * i + 2, 2 * i + 2, 2 * i + 1, 2 * i + 3);
    }
    this.geometry.setAttribute("position", new BufferAttribute(strip, 3));
    this.geometry.setIndex(index);
    const attribute = (name: string, size: number): InstancedBufferAttribute => {
      const made = new InstancedBufferAttribute(new Float32Array(MAX_ARCS * size), size).setUsage(DynamicDrawUsage);
      this.geometry.setAttribute(name, made);
      return made;
    };
    this.controls = ["a_p0", "a_p1", "a_p2", "a_p3"].map((name) => attribute(name, 3));
    this.weights = attribute("a_weight", 1);
    this.geometry.instanceCount = 0;
    this.material = ink_material(VERTEX, FRAGMENT, {
      u_viewport: { value: new Vector2(1, 1) },
      u_pixel_ratio: { value: 1 },
      u_colour: { value: new Vector3() },
      u_glow: { value: 1 },
    });
    this.mesh = new Mesh(this.geometry, this.material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = 6;
    this.mesh.visible = false;
  }

  /** Arcs from a head; weakest first, so that the strongest lie on top. */
  set(head: Vec3 | null, arcs: readonly Arc[]): void {
    const shown = head ? arcs.slice(0, MAX_ARCS) : [];
    shown.forEach((arc, i) => {
      const points = arc_controls(head!, arc.token);
      points.forEach((point, k) => this.controls[k]!.setXYZ(i, ...(point as [number, number, number])));
      this.weights.setX(i, arc.weight);
    });
    for (const attribute of [...this.controls, this.weights]) attribute.needsUpdate = true;
    this.geometry.instanceCount = shown.length;
    this.mesh.visible = shown.length > 0;
  }

  set_theme(theme: SceneTheme): void {
    (this.material.uniforms["u_colour"]!.value as Vector3).set(...rgb_floats(theme.accent));
    this.material.uniforms["u_glow"]!.value = theme.glow;
  }

  set_viewport(width: number, height: number, pixel_ratio: number): void {
    (this.material.uniforms["u_viewport"]!.value as Vector2).set(width, height);
    this.material.uniforms["u_pixel_ratio"]!.value = pixel_ratio;
  }

  dispose(): void {
    this.geometry.dispose();
    this.material.dispose();
  }
}
