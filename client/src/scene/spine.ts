// The residual stream: a glowing line below the sheets with a node a layer, fainter ones for earlier tokens,
// and the rail along which tokens lie. Capsules facing the screen; one draw call behind the sheets, one before.
import {
  DynamicDrawUsage,
  InstancedBufferAttribute,
  InstancedBufferGeometry,
  BufferAttribute,
  Mesh,
  type RawShaderMaterial,
  Vector2,
} from "three";
import { layer_x, type Blocks } from "../layout/blocks";
import { is_layer_shown, type LayerRange } from "../store/layer_range";
import { MAX_PAST_SHEETS } from "../layout/time_axis";
import { ink_material } from "./ink_material";
import { rgb_floats, type SceneTheme } from "./theme";

const VERTEX = /* glsl */ `
precision highp float;
uniform mat4 projectionMatrix, viewMatrix;
uniform vec2 u_viewport; // device pixels
in vec3 position;
in vec3 a_from, a_to;
in vec3 a_size;          // radius in world units, least radius in pixels, reach of the halo in radii
in vec4 a_colour;        // straight colour, strength
out vec2 v_at;
out float v_w;
flat out vec3 v_capsule; // length and radius in pixels, reach
flat out vec4 v_colour;
void main() {
  vec4 a = projectionMatrix * viewMatrix * vec4(a_from, 1.0);
  vec4 b = projectionMatrix * viewMatrix * vec4(a_to, 1.0);
  // A line that passes behind the camera is cut in front of it.
  float near = 0.05;
  if (a.w < near && b.w < near) { gl_Position = vec4(2.0, 2.0, 2.0, 1.0); return; }
  if (a.w < near) a = mix(a, b, (near - a.w) / (b.w - a.w));
  if (b.w < near) b = mix(b, a, (near - b.w) / (a.w - b.w));
  vec2 pa = a.xy / a.w * 0.5 * u_viewport, pb = b.xy / b.w * 0.5 * u_viewport;
  bool second = position.x > 0.5;
  float w = second ? b.w : a.w;
  float radius = max(a_size.y, a_size.x * projectionMatrix[1][1] * 0.5 * u_viewport.y / (0.5 * (a.w + b.w)));
  float reach = radius * a_size.z + 1.0;
  float span = length(pb - pa);
  vec2 along = span > 1e-4 ? (pb - pa) / span : vec2(1.0, 0.0);
  vec2 side = vec2(-along.y, along.x);
  float s = position.y * 2.0 - 1.0;
  vec2 p = (second ? pb + along * reach : pa - along * reach) + side * s * reach;
  v_at = vec2(second ? span + reach : -reach, s * reach);
  v_capsule = vec3(span, radius, reach);
  v_colour = a_colour;
  gl_Position = vec4(p / (0.5 * u_viewport) * w, second ? b.z : a.z, w);
  v_at *= w; // undone per pixel: the capsule is measured on the screen, not in perspective
  v_w = w;
}`;

const FRAGMENT = /* glsl */ `
precision highp float;
uniform float u_glow;
in vec2 v_at;
in float v_w;
flat in vec3 v_capsule;
flat in vec4 v_colour;
out vec4 colour;
void main() {
  vec2 at = v_at / v_w;
  float d = length(at - vec2(clamp(at.x, 0.0, v_capsule.x), 0.0));
  float core = 1.0 - smoothstep(v_capsule.y - 0.7, v_capsule.y + 0.7, d);
  float out_there = clamp((d - v_capsule.y) / max(v_capsule.z - v_capsule.y, 0.5), 0.0, 1.0);
  float halo = (1.0 - core) * (1.0 - out_there) * (1.0 - out_there) * 0.34 * u_glow;
  float cover = core * v_colour.a;
  colour = vec4(v_colour.rgb * (cover + halo * v_colour.a), cover);
}`;

const FLOATS = { a_from: 3, a_to: 3, a_size: 3, a_colour: 4 } as const;

/** Capsules in one draw call. */
class Capsules {
  readonly mesh: Mesh;
  private readonly geometry = new InstancedBufferGeometry();
  private readonly attributes: Record<keyof typeof FLOATS, InstancedBufferAttribute>;
  count = 0;

  constructor(capacity: number, material: RawShaderMaterial, render_order: number) {
    this.geometry.setAttribute("position", new BufferAttribute(new Float32Array([0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0]), 3));
    this.geometry.setIndex([0, 1, 2, 2, 1, 3]);
    const attribute = (name: keyof typeof FLOATS): InstancedBufferAttribute => {
      const made = new InstancedBufferAttribute(new Float32Array(FLOATS[name] * capacity), FLOATS[name]);
      this.geometry.setAttribute(name, made.setUsage(DynamicDrawUsage));
      return made;
    };
    this.attributes = {
      a_from: attribute("a_from"),
      a_to: attribute("a_to"),
      a_size: attribute("a_size"),
      a_colour: attribute("a_colour"),
    };
    this.mesh = new Mesh(this.geometry, material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = render_order;
  }

  begin(): void {
    this.count = 0;
  }

  /** `size`: radius in world units, least radius in pixels, reach of the halo in radii. */
  add(from: readonly number[], to: readonly number[], size: readonly number[], hex: string, strength: number): void {
    this.attributes.a_from.set(from, this.count * 3);
    this.attributes.a_to.set(to, this.count * 3);
    this.attributes.a_size.set(size, this.count * 3);
    this.attributes.a_colour.set([...rgb_floats(hex), strength], this.count * 4);
    this.count++;
  }

  end(): void {
    this.geometry.instanceCount = this.count;
    this.mesh.visible = this.count > 0;
    for (const attribute of Object.values(this.attributes)) attribute.needsUpdate = true;
  }

  /** Another radius in world units for one that is there. */
  set_radius(i: number, radius: number): void {
    this.attributes.a_size.setX(i, radius);
    this.attributes.a_size.needsUpdate = true;
  }

  /** Another strength for one that is there. */
  set_strength(i: number, strength: number): void {
    this.attributes.a_colour.setW(i, strength);
    this.attributes.a_colour.needsUpdate = true;
  }

  dispose(): void {
    this.geometry.dispose();
  }
}

/** Of the node of a layer that is left out: where it would be. */
const LEFT_OUT = 0.06;
/** Among the capsules of the shown token: after the line and its beginning. */
const FIRST_NODE = 2;

export class Spine {
  readonly meshes: readonly [Mesh, Mesh];
  private readonly past: Capsules;
  private readonly now: Capsules;
  private readonly material: RawShaderMaterial;
  private readonly past_material: RawShaderMaterial;
  private readonly node_radius: number;
  private layer_range: LayerRange | null = null;
  private theme: SceneTheme | null = null;
  private residual: Float32Array | null = null;
  private past_z: readonly number[] = [];

  constructor(private readonly blocks: Blocks) {
    this.node_radius = Math.min(0.07, blocks.layer_pitch * 0.28);
    const uniforms = { u_viewport: { value: new Vector2(1, 1) }, u_glow: { value: 1 } };
    this.material = ink_material(VERTEX, FRAGMENT, uniforms);
    this.past_material = ink_material(VERTEX, FRAGMENT, uniforms, true);
    this.past = new Capsules(MAX_PAST_SHEETS + 1, this.past_material, 4);
    this.now = new Capsules(blocks.n_layers + 3, this.material, 5);
    this.meshes = [this.past.mesh, this.now.mesh];
  }

  /**
   * Bring up what differs from the last time: lines are laid anew only for another theme or other tokens.
   * `residual` float32 [n_layers+1]: norm of the stream, which makes nodes bigger;
   * `past_z`: where earlier tokens' sheets stand, nearest first.
   */
  update(theme: SceneTheme, residual: Float32Array | null, past_z: readonly number[]): void {
    const is_new_theme = theme !== this.theme;
    if (is_new_theme) this.lay_now(theme);
    if (is_new_theme || past_z.length !== this.past_z.length || past_z.some((z, i) => z !== this.past_z[i])) {
      this.lay_past(theme, past_z);
    }
    if (is_new_theme || residual !== this.residual) this.size_nodes(residual);
    this.theme = theme;
    this.past_z = past_z;
    this.residual = residual;
  }

  private lay_past(theme: SceneTheme, past_z: readonly number[]): void {
    const { spine_from_x: x0, spine_to_x: x1, spine_y: y } = this.blocks;
    this.past.begin();
    past_z.slice(0, MAX_PAST_SHEETS).forEach((z, i) => {
      this.past.add([x0, y, z], [x1, y, z], [0.012, 0.45, 1], theme.rail, 0.55 * (1 - i / MAX_PAST_SHEETS));
    });
    const last = past_z.at(-1);
    if (last !== undefined) this.past.add([x0, y, 0], [x0, y, last], [0.012, 0.5, 1], theme.rail, 0.8);
    this.past.end();
  }

  private lay_now(theme: SceneTheme): void {
    const { spine_from_x: x0, spine_to_x: x1, spine_y: y, n_layers } = this.blocks;
    const end_radius = this.node_radius * 0.9;
    this.now.begin();
    this.now.add([x0, y, 0], [x1, y, 0], [0.03, 1.2, 4.5], theme.spine, 1);
    this.now.add([x0, y, 0], [x0, y, 0], [end_radius, 2, 3], theme.spine, 1);
    for (let layer = 0; layer < n_layers; layer++) {
      const x = layer_x(this.blocks, layer);
      this.now.add([x, y, 0], [x, y, 0], [this.node_radius, 1.4, 3.2], theme.node, 1);
    }
    this.now.add([x1, y, 0], [x1, y, 0], [end_radius, 2, 3], theme.spine, 1);
    this.now.end();
    this.set_layer_range(this.layer_range);
    this.material.uniforms["u_glow"]!.value = theme.glow;
  }

  /** Nodes of other layers are next to nothing; the stream itself goes through all of them. */
  set_layer_range(range: LayerRange | null): void {
    this.layer_range = range;
    for (let layer = 0; layer < this.blocks.n_layers; layer++) {
      this.now.set_strength(FIRST_NODE + layer, is_layer_shown(range, layer) ? 1 : LEFT_OUT);
    }
  }

  private size_nodes(residual: Float32Array | null): void {
    const log = residual ? Array.from(residual, (norm) => Math.log(Math.max(norm, 1e-6))) : null;
    const [low, high] = log ? [Math.min(...log), Math.max(...log)] : [0, 0];
    for (let layer = 0; layer < this.blocks.n_layers; layer++) {
      const loudness = log && high > low ? ((log[layer + 1] ?? low) - low) / (high - low) : 0.5;
      this.now.set_radius(FIRST_NODE + layer, this.node_radius * (0.75 + 0.5 * loudness));
    }
  }

  show_past(visible: boolean): void {
    this.past.mesh.visible = visible && this.past.count > 0;
  }

  set_viewport(width: number, height: number): void {
    (this.material.uniforms["u_viewport"]!.value as Vector2).set(width, height);
  }

  dispose(): void {
    this.past.dispose();
    this.now.dispose();
    this.material.dispose();
    this.past_material.dispose();
  }
}
