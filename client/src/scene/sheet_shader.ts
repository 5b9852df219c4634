// The shader of a token's sheet. One quad: the fragment finds its cell from its position and fetches the value.
// Layout arithmetic mirrors layout/blocks.ts and layout/texels.ts; picking uses those, so what is seen is picked.

export const SHEET_VERTEX = /* glsl */ `
precision highp float;
uniform mat4 projectionMatrix, viewMatrix;
uniform vec4 u_extent; // left, bottom, right, top of the quad
in vec3 position;
in vec3 a_sheet;       // slot in the texture arrays, z, fade
out vec2 v_p;
flat out float v_slot;
flat out float v_fade;
void main() {
  v_p = mix(u_extent.xy, u_extent.zw, position.xy);
  v_slot = a_sheet.x;
  v_fade = a_sheet.z;
  gl_Position = projectionMatrix * viewMatrix * vec4(v_p, a_sheet.y, 1.0);
}`;

const CELLS = /* glsl */ `
uniform isampler2DArray u_codes;   // one token's neurons a slice, a layer's bytes in a row or several
uniform isampler2DArray u_blocks;  // heads of a layer in a row, then the whole attn, then the whole mlp
uniform sampler2DArray u_pool_4;   // loudest of 4 x 4 cells, laid out as the sheet: size, signed value
uniform sampler2DArray u_pool_16;
uniform ivec4 u_packing;           // texture width, rows a layer, columns of cells, d_mlp
uniform ivec4 u_pooled;            // columns and rows of a layer in each pooled texture

float louder(float a, float b) { return abs(b) > abs(a) ? b : a; }

// 2.0 stands for a value that is not finite: drawn in its own colour, never as loud.
float decode(int code) { return code == -128 ? 2.0 : float(code) / 127.0; }

float neuron_code(int layer, ivec2 c, int slot) {
  int n = c.y * u_packing.z + c.x;
  if (n >= u_packing.w) return 0.0;
  ivec2 t = u_packing.y == 1 ? ivec2(n, layer) : ivec2(n % u_packing.x, layer * u_packing.y + n / u_packing.x);
  return decode(texelFetch(u_codes, ivec3(t, slot), 0).r);
}
`;

export const POOL_FRAGMENT_4 = /* glsl */ `
precision highp float;
precision highp int;
precision highp isampler2DArray;
precision highp sampler2DArray;
${CELLS}
uniform int u_slot;
uniform int u_rows;
out vec4 colour;
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int layer = at.x / u_pooled.x;
  ivec2 from = ivec2(at.x - layer * u_pooled.x, at.y) * 4;
  float value = 0.0;
  for (int y = 0; y < 4; y++) for (int x = 0; x < 4; x++) {
    ivec2 c = from + ivec2(x, y);
    if (c.x < u_packing.z && c.y < u_rows) value = louder(value, neuron_code(layer, c, u_slot));
  }
  value = clamp(value, -1.0, 1.0);
  colour = vec4(abs(value), (round(value * 127.0) + 128.0) / 255.0, 0.0, 1.0);
}`;

export const POOL_FRAGMENT_16 = /* glsl */ `
precision highp float;
precision highp int;
precision highp sampler2DArray;
uniform sampler2DArray u_pool_4;
uniform ivec4 u_pooled;
uniform int u_slot;
out vec4 colour;
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  int layer = at.x / u_pooled.z;
  ivec2 from = ivec2(at.x - layer * u_pooled.z, at.y) * 4;
  vec2 loudest = vec2(0.0, 128.0 / 255.0);
  for (int y = 0; y < 4; y++) for (int x = 0; x < 4; x++) {
    ivec2 c = from + ivec2(x, y);
    if (c.x >= u_pooled.x || c.y >= u_pooled.y) continue;
    vec2 value = texelFetch(u_pool_4, ivec3(c + ivec2(layer * u_pooled.x, 0), u_slot), 0).rg;
    if (value.r > loudest.r) loudest = value;
  }
  colour = vec4(loudest, 0.0, 1.0);
}`;

export const POOL_VERTEX = /* glsl */ `
in vec3 position;
void main() { gl_Position = vec4(position.xy * 2.0 - 1.0, 0.0, 1.0); }`;

export const SHEET_FRAGMENT = /* glsl */ `
precision highp float;
precision highp int;
precision highp isampler2DArray;
precision highp sampler2DArray;
${CELLS}
uniform sampler2D u_ramp;          // 256 colours from the map's lower to its upper end
uniform float u_diverging;
uniform float u_glow;              // additive softness: 0 on a light ground
uniform vec3 u_panel_colour, u_disc_colour, u_tab_colour, u_odd_colour;
uniform float u_pitch, u_panel_width, u_cell, u_rows;
uniform vec2 u_panel;              // bottom, top
uniform vec4 u_tabs;               // mlp bottom, top, attn bottom, top
uniform vec4 u_heads;              // left within the panel, bottom, top, pitch
uniform ivec2 u_head_grid;         // columns, n_heads
in vec2 v_p;
flat in float v_slot;
flat in float v_fade;
out vec4 colour;

vec3 ramp(float value) {
  if (abs(value) > 1.5) return u_odd_colour;
  float at = mix(abs(value), value * 0.5 + 0.5, u_diverging);
  return textureLod(u_ramp, vec2(at * 0.99609375 + 0.001953125, 0.5), 0.0).rgb;
}

float pooled(sampler2DArray pool, int layer, ivec2 from, ivec2 count, ivec2 size, int slot) {
  vec2 loudest = vec2(0.0, 128.0 / 255.0);
  for (int y = 0; y < count.y; y++) for (int x = 0; x < count.x; x++) {
    ivec2 c = clamp(from + ivec2(x, y), ivec2(0), size - 1);
    vec2 value = texelFetch(pool, ivec3(c + ivec2(layer * size.x, 0), slot), 0).rg;
    if (value.r > loudest.r) loudest = value;
  }
  return (round(loudest.g * 255.0) - 128.0) / 127.0;
}

// The loudest cell that a pixel covers, so that a lone loud neuron does not vanish.
float loudest_neuron(int layer, vec2 at, vec2 foot, int slot) {
  ivec2 size = ivec2(u_packing.z, int(u_rows));
  if (max(foot.x, foot.y) <= 1.0) return neuron_code(layer, clamp(ivec2(at), ivec2(0), size - 1), slot);
  vec2 corner = at - 0.5 * foot;
  if (foot.x * foot.y <= 4.0 && max(foot.x, foot.y) <= 4.0) {
    ivec2 from = ivec2(floor(corner + 0.5));
    ivec2 count = max(ivec2(ceil(foot)), ivec2(1));
    float value = 0.0;
    for (int y = 0; y < count.y; y++) for (int x = 0; x < count.x; x++)
      value = louder(value, neuron_code(layer, clamp(from + ivec2(x, y), ivec2(0), size - 1), slot));
    return value;
  }
  vec2 quarter = foot / 4.0;
  if (max(quarter.x, quarter.y) <= 3.0)
    return pooled(u_pool_4, layer, ivec2(floor(corner / 4.0 + 0.5)), max(ivec2(ceil(quarter)), ivec2(1)), u_pooled.xy, slot);
  quarter = min(foot / 16.0, vec2(8.0));
  return pooled(u_pool_16, layer, ivec2(floor(corner / 16.0 + 0.5)), max(ivec2(ceil(quarter)), ivec2(1)), u_pooled.zw, slot);
}

float box(vec2 p, vec2 half_size, float radius) {
  vec2 q = abs(p) - half_size + radius;
  return length(max(q, 0.0)) + min(max(q.x, q.y), 0.0) - radius;
}

// Straight colour, how much of it covers what lies behind, and light added on top.
struct Ink { vec3 rgb; float cover; vec3 light; };

Ink panel_ink(int layer, float x, float y, vec2 px, int slot) {
  vec2 at = vec2(x, u_panel.y - y) / u_cell;
  vec2 foot = px / u_cell;
  float value = loudest_neuron(layer, at, foot, slot);
  float size = min(abs(value), 1.0);
  float big = max(foot.x, foot.y);
  float shape = 1.0;
  vec3 rgb = ramp(value);
  if (big < 0.5) {
    vec2 p = fract(at) - 0.5;
    float edge = box(p, vec2(0.44), 0.1);
    float mask = 1.0 - smoothstep(-0.5 * big, 0.5 * big, edge);
    shape = mix(1.0, mask, smoothstep(0.5, 0.22, big));
    // A negative value has a bar across it once there is room to see one.
    if (value < -0.06 && value > -1.5 && big < 0.2) {
      float bar = 1.0 - smoothstep(0.0, big, box(p, vec2(0.26, 0.055), 0.02));
      rgb = mix(rgb, u_panel_colour, bar * smoothstep(0.2, 0.1, big) * 0.85);
    }
  }
  vec3 light = vec3(0.0);
  if (v_fade == 1.0 && u_glow > 0.0) {
    vec2 uv = (vec2(float(layer * u_pooled.x), 0.0) + clamp(at / 4.0, vec2(0.3), vec2(u_pooled.xy) - 0.3))
      / vec2(textureSize(u_pool_4, 0).xy);
    float near = textureLod(u_pool_4, vec3(uv, float(slot)), 0.0).r;
    light = ramp(mix(near, value < 0.0 ? -near : near, u_diverging)) * smoothstep(0.62, 1.0, near) * u_glow * 0.30;
  }
  rgb = mix(u_panel_colour, rgb, shape);
  return Ink(rgb, v_fade == 1.0 ? 0.9 : shape * smoothstep(0.22, 0.8, size), light);
}

float head_code(int layer, ivec2 c, int slot) {
  int rows = (u_head_grid.y + u_head_grid.x - 1) / u_head_grid.x;
  int n = c.y * u_head_grid.x + c.x;
  if (c.x < 0 || c.y < 0 || c.x >= u_head_grid.x || c.y >= rows || n >= u_head_grid.y) return -9.0;
  return decode(texelFetch(u_blocks, ivec3(n, layer, slot), 0).r);
}

Ink heads_ink(int layer, float x, float y, vec2 px, int slot) {
  vec2 at = vec2(x - u_heads.x, u_heads.z - y) / u_heads.w;
  float foot = max(px.x, px.y) / u_heads.w;
  ivec2 c = ivec2(floor(at));
  float value = head_code(layer, c, slot);
  Ink ink = Ink(u_disc_colour, 0.0, vec3(0.0));
  if (value > -9.0) {
    float d = length(fract(at) - 0.5);
    float mask = 1.0 - smoothstep(0.40 - 0.5 * foot, 0.40 + 0.5 * foot, d);
    mask = mix(mask, 0.8, smoothstep(0.5, 0.9, foot));
    float rim = smoothstep(0.31 - foot, 0.36, d) * (1.0 - smoothstep(0.1, 0.4, foot));
    vec3 rgb = ramp(value);
    ink.rgb = mix(rgb, mix(rgb, u_disc_colour, 0.55), rim * (1.0 - abs(clamp(value, -1.0, 1.0))));
    ink.cover = mask * (v_fade == 1.0 ? 1.0 : smoothstep(0.3, 1.0, abs(value)));
  }
  if (v_fade < 1.0 || u_glow == 0.0 || foot > 0.4) return ink;
  for (int dy = -1; dy <= 1; dy++) for (int dx = -1; dx <= 1; dx++) {
    float other = head_code(layer, c + ivec2(dx, dy), slot);
    if (abs(other) < 0.6 || abs(other) > 1.5) continue;
    float d = length(at - vec2(c + ivec2(dx, dy)) - 0.5);
    ink.light += ramp(other) * smoothstep(0.6, 1.0, abs(other)) * max(0.0, exp(-2.6 * d * d) - 0.05) * u_glow * 0.42;
  }
  return ink;
}

Ink tab_ink(int layer, float x, float y, vec2 px, vec2 span, int column, int slot) {
  float value = decode(texelFetch(u_blocks, ivec3(u_head_grid.y + column, layer, slot), 0).r);
  vec2 half_size = vec2(u_panel_width, span.y - span.x) * 0.5;
  float pixel = max(px.x, px.y);
  float edge = box(vec2(x, y) - vec2(half_size.x, 0.5 * (span.x + span.y)), half_size, min(0.05, half_size.x));
  float mask = 1.0 - smoothstep(-pixel, 0.0, edge);
  vec3 rgb = mix(u_tab_colour, ramp(value), 0.25 + 0.65 * min(abs(value), 1.0));
  return Ink(rgb, mask * (v_fade == 1.0 ? 0.95 : 0.35 * abs(value)), vec3(0.0));
}

void main() {
  vec2 px = vec2(length(vec2(dFdx(v_p.x), dFdy(v_p.x))), length(vec2(dFdx(v_p.y), dFdy(v_p.y))));
  int layer = int(floor(v_p.x / u_pitch));
  float x = v_p.x - float(layer) * u_pitch - 0.5 * (u_pitch - u_panel_width);
  int slot = int(v_slot + 0.5);
  bool inside = x >= 0.0 && x < u_panel_width && v_p.x >= 0.0 && v_p.x < 16.0;
  Ink ink = Ink(vec3(0.0), 0.0, vec3(0.0));
  if (v_p.y > u_panel.x && v_p.y <= u_panel.y) {
    if (!inside) discard;
    ink = panel_ink(layer, x, v_p.y, px, slot);
  } else if (!inside) {
    discard;
  } else if (v_p.y >= u_tabs.x && v_p.y <= u_tabs.y) {
    ink = tab_ink(layer, x, v_p.y, px, u_tabs.xy, 1, slot);
  } else if (v_p.y >= u_tabs.z && v_p.y <= u_tabs.w) {
    ink = tab_ink(layer, x, v_p.y, px, u_tabs.zw, 0, slot);
  } else if (v_p.y > u_heads.y - u_heads.w && v_p.y < u_heads.z + u_heads.w) {
    ink = heads_ink(layer, x, v_p.y, px, slot);
  } else discard;
  float cover = ink.cover * v_fade;
  colour = vec4(ink.rgb * cover + ink.light, cover);
}`;
