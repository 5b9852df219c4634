// What is marked on the shown sheet: changed components by a shape that says how, those gathered, hovered or selected
// by an outline. One draw call; never smaller than a few pixels, so that a lone ablated neuron is found again.
import { InstancedBufferAttribute, InstancedBufferGeometry, BufferAttribute, Mesh, type RawShaderMaterial, Vector2, Vector3 } from "three";
import type { Rect } from "../layout/blocks";
import { ink_material, set_viewport } from "./ink_material";
import { rgb_floats, type SceneTheme } from "./theme";

/** In the order of the shader's numbers: whole blocks, outlines, and from `cross` on glyphs, told apart by shape. */
const STYLES = [
  "hatch", "dots", "hovered", "selected", "picked", "disc_hovered", "disc_selected", "disc_picked",
  "cross", "triangle", "diamond", "chevron", "plus", "minus",
] as const;
export type MarkStyle = (typeof STYLES)[number];

export interface Mark {
  rect: Rect;
  style: MarkStyle;
}

const VERTEX = /* glsl */ `
precision highp float;
uniform mat4 projectionMatrix, viewMatrix;
uniform vec2 u_viewport;
uniform float u_pixel_ratio;
in vec3 position;
in vec4 a_rect;
in float a_style;
out vec2 v_px;          // from the middle, device pixels of the unturned rectangle
flat out vec2 v_half;
flat out float v_style;
void main() {
  vec2 half_size = 0.5 * a_rect.zw;
  vec2 middle = a_rect.xy + half_size;
  vec4 m = projectionMatrix * viewMatrix * vec4(middle, 0.0, 1.0);
  float pixels_per_unit = projectionMatrix[1][1] * 0.5 * u_viewport.y / max(m.w, 0.05);
  float least = (a_style > 7.5 ? 4.6 : a_style < 1.5 ? 1.0 : 4.0) * u_pixel_ratio;
  vec2 half_px = max(half_size * pixels_per_unit, vec2(least));
  float margin = a_style > 1.5 && a_style < 7.5 ? 7.0 * u_pixel_ratio : 1.0;
  vec2 corner = (position.xy * 2.0 - 1.0) * (half_px + margin);
  v_px = corner;
  v_half = half_px;
  v_style = a_style;
  gl_Position = projectionMatrix * viewMatrix * vec4(middle + corner / pixels_per_unit, 0.0, 1.0);
}`;

const FRAGMENT = /* glsl */ `
precision highp float;
uniform vec3 u_ablated, u_hover, u_accent;
uniform float u_pixel_ratio;
uniform float u_glow;
in vec2 v_px;
flat in vec2 v_half;
flat in float v_style;
out vec4 colour;
float line(float d, float width) { return 1.0 - smoothstep(width - 0.6, width + 0.6, abs(d)); }
float frame(vec2 p, vec2 half_size, float radius) {
  vec2 q = abs(p) - half_size + radius;
  return length(max(q, 0.0)) + min(max(q.x, q.y), 0.0) - radius;
}
/** Distance from the strokes of a glyph of half-size 1; y is up. */
float glyph(int style, vec2 p) {
  vec2 q = abs(p);
  float s = 0.8;
  if (style == 8) return max(abs(q.x - q.y) * 0.7071, max(q.x, q.y) - s);                     // cross
  if (style == 9) return abs(max(q.x * 0.866 + p.y * 0.5, -p.y) - 0.45);                       // triangle
  if (style == 10) return abs((q.x + q.y) * 0.7071 - 0.56);                                    // diamond
  if (style == 11) return max(abs(p.x + 0.45 - q.y) * 0.7071, max(q.y, q.x) - s);              // chevron, pointing back
  if (style == 12) return max(min(q.x, q.y), max(q.x, q.y) - s);                               // plus
  return max(q.y, q.x - s);                                                                    // minus
}
void main() {
  float r = u_pixel_ratio;
  int style = int(v_style + 0.5);
  if (style >= 8) {
    float half_size = min(v_half.x, v_half.y);
    float width = clamp(0.13 * half_size, 0.8 * r, 3.5 * r);
    float d = glyph(style, v_px / half_size) * half_size;
    float stroke = line(max(d, 0.0), width);
    float under = line(max(d, 0.0), width + 1.4 * r);
    colour = vec4(u_ablated * stroke, max(stroke, under * 0.75));
  } else if (style <= 1) {
    float stripe = abs(fract((v_px.x + v_px.y) / (9.0 * r)) - 0.5) * 9.0 * r * 0.7071;
    vec2 cell = (fract(v_px / (9.0 * r)) - 0.5) * 9.0 * r;
    float fill = style == 0 ? line(stripe, 0.8 * r) : line(length(cell), 1.3 * r);
    float edge = line(frame(v_px, v_half - 1.0, 2.0), 0.9 * r);
    float alpha = max(max(fill * 0.62, edge), style == 0 ? 0.35 : 0.0);
    colour = vec4(u_ablated * max(fill * 0.62, edge), alpha);
  } else {
    bool selected = style == 3 || style == 6;
    bool gathered = style == 4 || style == 7;
    float grow = selected ? 2.4 * r : gathered ? 3.4 * r : 1.6 * r;
    float d = style >= 5 ? length(v_px) - 0.82 * min(v_half.x, v_half.y) - grow : frame(v_px, v_half + grow, 2.5 * r);
    float dashes = gathered ? step(0.35, fract(atan(v_px.y, v_px.x) * 1.2732)) : 1.0;
    float core = line(d, (selected ? 1.15 : 0.8) * r) * dashes;
    float halo = selected ? exp(-abs(d) / (1.9 * r)) * 0.5 * u_glow : 0.0;
    vec3 rgb = selected || gathered ? u_accent : u_hover;
    colour = vec4(rgb * max(core, halo), core);
  }
}`;

export class Marks {
  readonly mesh: Mesh;
  private geometry = new InstancedBufferGeometry();
  private readonly material: RawShaderMaterial;
  private capacity = 0;

  constructor() {
    this.material = ink_material(VERTEX, FRAGMENT, {
      u_viewport: { value: new Vector2(1, 1) },
      u_pixel_ratio: { value: 1 },
      u_glow: { value: 1 },
      u_ablated: { value: new Vector3() },
      u_hover: { value: new Vector3() },
      u_accent: { value: new Vector3() },
    });
    this.mesh = new Mesh(this.geometry, this.material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = 5;
    this.reserve(64);
  }

  /** A bigger buffer; only when a person ablates more than ever before. */
  private reserve(capacity: number): void {
    this.geometry.dispose();
    this.geometry = new InstancedBufferGeometry();
    this.geometry.setAttribute("position", new BufferAttribute(new Float32Array([0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0]), 3));
    this.geometry.setIndex([0, 1, 2, 2, 1, 3]);
    this.geometry.setAttribute("a_rect", new InstancedBufferAttribute(new Float32Array(capacity * 4), 4));
    this.geometry.setAttribute("a_style", new InstancedBufferAttribute(new Float32Array(capacity), 1));
    this.mesh.geometry = this.geometry;
    this.capacity = capacity;
  }

  set(marks: readonly Mark[]): void {
    if (marks.length > this.capacity) this.reserve(Math.max(marks.length, 2 * this.capacity));
    const rects = this.geometry.getAttribute("a_rect") as InstancedBufferAttribute;
    const styles = this.geometry.getAttribute("a_style") as InstancedBufferAttribute;
    marks.forEach(({ rect, style }, i) => {
      rects.setXYZW(i, rect.x, rect.y, rect.w, rect.h);
      styles.setX(i, STYLES.indexOf(style));
    });
    rects.needsUpdate = styles.needsUpdate = true;
    this.geometry.instanceCount = marks.length;
    this.mesh.visible = marks.length > 0;
  }

  set_theme(theme: SceneTheme): void {
    const u = this.material.uniforms;
    (u["u_ablated"]!.value as Vector3).set(...rgb_floats(theme.ablated));
    (u["u_hover"]!.value as Vector3).set(...rgb_floats(theme.hover));
    (u["u_accent"]!.value as Vector3).set(...rgb_floats(theme.accent));
    u["u_glow"]!.value = theme.glow;
  }

  set_viewport(width: number, height: number, pixel_ratio: number): void {
    set_viewport(this.material, width, height, pixel_ratio);
  }

  dispose(): void {
    this.geometry.dispose();
    this.material.dispose();
  }
}
