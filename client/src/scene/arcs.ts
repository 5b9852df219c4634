// Ribbons through the slabs, one draw call for all of them: the selected head's attention, and attribution paths.
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
import type { Vec3 } from "../layout/framing";
import { ink_material, set_viewport } from "./ink_material";

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
  float half_width = (0.7 + 3.6 * sqrt(abs(a_weight))) * 0.62 * perspective * u_pixel_ratio;
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
uniform vec3 u_colour, u_negative;
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
  float strength = clamp(0.28 + 0.9 * sqrt(abs(v_weight)), 0.0, 1.0);
  vec3 rgb = mix(v_weight < 0.0 ? u_negative : u_colour, vec3(1.0), 0.22 * u_glow * core * (1.0 - smoothstep(0.0, v_half, d)));
  colour = vec4(rgb * strength * (core + 0.22 * halo * u_glow), core * strength);
}`;

export interface Arc {
  /** Of a cubic. */
  controls: readonly Vec3[];
  /** -1 to 1; its size is the ribbon's width, its sign the colour. */
  weight: number;
}

export class Arcs {
  readonly mesh: Mesh;
  private readonly geometry = new InstancedBufferGeometry();
  private readonly material: RawShaderMaterial;
  private readonly controls: InstancedBufferAttribute[];
  private readonly weights: InstancedBufferAttribute;

  constructor(private readonly capacity: number) {
    const strip = new Float32Array((SEGMENTS + 1) * 6);
    const index: number[] = [];
    for (let i = 0; i <= SEGMENTS; i++) {
      strip.set([i / SEGMENTS, -1, 0, i / SEGMENTS, 1, 0], i * 6);
      if (i < SEGMENTS) index.push(2 * i, 2 * i + 1, 2 * i + 2, 2 * i + 2, 2 * i + 1, 2 * i + 3);
    }
    this.geometry.setAttribute("position", new BufferAttribute(strip, 3));
    this.geometry.setIndex(index);
    const attribute = (name: string, size: number): InstancedBufferAttribute => {
      const made = new InstancedBufferAttribute(new Float32Array(capacity * size), size).setUsage(DynamicDrawUsage);
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
      u_negative: { value: new Vector3() },
      u_glow: { value: 1 },
    });
    this.mesh = new Mesh(this.geometry, this.material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = 6;
    this.mesh.visible = false;
  }

  /** Weakest first, so that the strongest lie on top. */
  set(arcs: readonly Arc[]): void {
    const shown = arcs.slice(-this.capacity);
    shown.forEach((arc, i) => {
      arc.controls.forEach((point, k) => this.controls[k]!.setXYZ(i, ...(point as [number, number, number])));
      this.weights.setX(i, arc.weight);
    });
    for (const attribute of [...this.controls, this.weights]) {
      attribute.clearUpdateRanges();
      attribute.addUpdateRange(0, shown.length * attribute.itemSize);
      attribute.needsUpdate = true;
    }
    this.geometry.instanceCount = shown.length;
    this.mesh.visible = shown.length > 0;
  }

  set_colours(positive: readonly [number, number, number], negative: readonly [number, number, number], glow: number): void {
    (this.material.uniforms["u_colour"]!.value as Vector3).set(...positive);
    (this.material.uniforms["u_negative"]!.value as Vector3).set(...negative);
    this.material.uniforms["u_glow"]!.value = glow;
  }

  set_viewport(width: number, height: number, pixel_ratio: number): void {
    set_viewport(this.material, width, height, pixel_ratio);
  }

  dispose(): void {
    this.geometry.dispose();
    this.material.dispose();
  }
}
