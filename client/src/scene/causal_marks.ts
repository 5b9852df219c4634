// What was measured of the shown token's strongest components: a disc with + or − at each one's cell, as large as
// its effect.
import type { Blocks } from "../layout/blocks";
import { colour_at } from "../layout/colour";
import { node_of } from "../layout/node_id";
import { node_point } from "../layout/path_places";
import { live_effects } from "../store/live_causal";
import { is_layer_shown, peek_shown_layers } from "../store/layer_range";
import type { Store } from "../store/store";
import type { Theme } from "../store/types";
import { PointMarks } from "./point_marks";
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

export class CausalMarks extends PointMarks<"positive" | "negative" | "ground"> {
  constructor(private readonly store: Store) {
    super({
      vertex: VERTEX, fragment: FRAGMENT, capacity: MAX_MARKS, look_size: 2, render_order: 8,
      colours: ["positive", "negative", "ground"],
    });
  }

  /** Anew from the store: none while the switch is off, or where the shown token was not measured. */
  update(blocks: Blocks | null): void {
    const { store } = this;
    const pos = store.current_pos.peek();
    const is_on = blocks !== null && store.is_measuring_live.peek();
    const effects = (is_on ? live_effects(store.history.get(pos)) : null) ?? [];
    const largest = Math.max(...effects.map(({ measured }) => Math.abs(measured)), 1e-12);
    const range = peek_shown_layers(store);
    const shown = effects.filter(({ component }) => is_layer_shown(range, component.layer)).slice(0, MAX_MARKS);
    this.set(shown.flatMap(({ component, measured }) => {
      const point = node_point(blocks!, node_of(component, pos), pos);
      return point ? [{ point, look: [Math.abs(measured) / largest, measured < 0 ? -1 : 1] }] : [];
    }));
  }

  set_theme(theme: SceneTheme, name: Theme): void {
    const of = (at: number): readonly [number, number, number] => {
      const [r, g, b] = colour_at("direct_logit", name, at);
      return [r / 255, g / 255, b / 255];
    };
    this.set_colours({ positive: of(0.88), negative: of(0.12), ground: rgb_floats(theme.panel) });
  }
}
