// Straight lines and dots of any colour and width in one draw call: each a capsule, a dot one without length.
import {
  BufferAttribute, DynamicDrawUsage, InstancedBufferAttribute, InstancedBufferGeometry, Mesh, type RawShaderMaterial,
  Vector2,
} from "three";
import type { Vec3 } from "../layout/framing";
import { ink_material } from "./ink_material";

const VERTEX = /* glsl */ `
precision highp float;
uniform mat4 projectionMatrix, viewMatrix;
uniform vec2 u_viewport;
uniform float u_pixel_ratio;
in vec3 position;        // which end, side
in vec3 a_from, a_to;
in vec4 a_look;          // colour, half width in CSS pixels
in float a_alpha;
out vec2 v_at;           // along and across, pixels
flat out float v_length;
flat out float v_half;
flat out vec4 v_colour;
void main() {
  vec4 from = projectionMatrix * viewMatrix * vec4(a_from, 1.0);
  vec4 to = projectionMatrix * viewMatrix * vec4(a_to, 1.0);
  v_half = a_look.w * u_pixel_ratio;
  v_colour = vec4(a_look.rgb, a_alpha);
  if (from.w < 0.02 || to.w < 0.02) { // an end lies behind the camera
    gl_Position = vec4(2.0, 2.0, 2.0, 1.0);
    return;
  }
  vec2 start = from.xy / from.w * 0.5 * u_viewport;
  vec2 line = to.xy / to.w * 0.5 * u_viewport - start;
  v_length = length(line);
  vec2 along = v_length > 1e-4 ? line / v_length : vec2(1.0, 0.0);
  float reach = v_half + 1.0;
  v_at = vec2(position.x > 0.5 ? v_length + reach : -reach, position.y * reach);
  vec2 here = start + along * v_at.x + vec2(-along.y, along.x) * v_at.y;
  vec4 end = position.x > 0.5 ? to : from;
  gl_Position = vec4(here / (0.5 * u_viewport) * end.w, end.z, end.w);
}`;

const FRAGMENT = /* glsl */ `
precision highp float;
in vec2 v_at;
flat in float v_length;
flat in float v_half;
flat in vec4 v_colour;
out vec4 colour;
void main() {
  float d = length(vec2(v_at.x - clamp(v_at.x, 0.0, v_length), v_at.y));
  float ink = v_colour.a * (1.0 - smoothstep(v_half - 0.5, v_half + 0.6, d));
  if (ink < 0.004) discard;
  colour = vec4(v_colour.rgb * ink, ink);
}`;

export interface Segment {
  from: Vec3;
  to: Vec3;
  rgb: readonly [number, number, number];
  /** CSS pixels. */
  half_width: number;
  alpha: number;
}

export class Segments {
  readonly mesh: Mesh;
  private readonly geometry = new InstancedBufferGeometry();
  private readonly material: RawShaderMaterial;
  private readonly ends: readonly [InstancedBufferAttribute, InstancedBufferAttribute];
  private readonly looks: InstancedBufferAttribute;
  private readonly alphas: InstancedBufferAttribute;

  /** `render_order`: later ones are drawn over it. */
  constructor(private readonly capacity: number, render_order: number) {
    this.geometry.setAttribute("position", new BufferAttribute(new Float32Array([0, -1, 0, 0, 1, 0, 1, -1, 0, 1, 1, 0]), 3));
    this.geometry.setIndex([0, 1, 2, 2, 1, 3]);
    const attribute = (name: string, size: number): InstancedBufferAttribute => {
      const made = new InstancedBufferAttribute(new Float32Array(capacity * size), size).setUsage(DynamicDrawUsage);
      this.geometry.setAttribute(name, made);
      return made;
    };
    this.ends = [attribute("a_from", 3), attribute("a_to", 3)];
    this.looks = attribute("a_look", 4);
    this.alphas = attribute("a_alpha", 1);
    this.geometry.instanceCount = 0;
    this.material = ink_material(VERTEX, FRAGMENT, {
      u_viewport: { value: new Vector2(1, 1) },
      u_pixel_ratio: { value: 1 },
    });
    this.mesh = new Mesh(this.geometry, this.material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = render_order;
    this.mesh.visible = false;
  }

  /** First ones lie below; what is over the capacity is left out. */
  set(segments: readonly Segment[]): void {
    const shown = segments.slice(0, this.capacity);
    shown.forEach(({ from, to, rgb, half_width, alpha }, i) => {
      this.ends[0].setXYZ(i, ...(from as [number, number, number]));
      this.ends[1].setXYZ(i, ...(to as [number, number, number]));
      this.looks.setXYZW(i, rgb[0], rgb[1], rgb[2], half_width);
      this.alphas.setX(i, alpha);
    });
    for (const attribute of [...this.ends, this.looks, this.alphas]) {
      attribute.clearUpdateRanges();
      attribute.addUpdateRange(0, shown.length * attribute.itemSize);
      attribute.needsUpdate = true;
    }
    this.geometry.instanceCount = shown.length;
    this.mesh.visible = shown.length > 0;
  }

  /** Device pixels, and how many of them a CSS pixel has. */
  set_viewport(width: number, height: number, pixel_ratio: number): void {
    (this.material.uniforms["u_viewport"]!.value as Vector2).set(width, height);
    this.material.uniforms["u_pixel_ratio"]!.value = pixel_ratio;
  }

  dispose(): void {
    this.geometry.dispose();
    this.material.dispose();
  }
}
