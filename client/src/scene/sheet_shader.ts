// The shaders of the tokens' sheets: the fragment finds its cell from its position and fetches the value.
// Layout arithmetic mirrors layout/blocks.ts and layout/texels.ts; picking uses those, so what is seen is picked.
//
// Written for software rasterisers too, which run both sides of every `if` for every pixel but do leave a loop
// when no pixel needs another turn: work that few pixels need is therefore inside a loop of zero or one turns,
// and cells, discs and strips have each a shader of their own.

export const SHEET_VERTEX = /* glsl */ `
precision highp float;
uniform mat4 projectionMatrix, viewMatrix;
uniform vec4 u_extent; // left, bottom, right, top of the quad
uniform vec2 u_span;   // from and to where on x there is anything: the shown layers
in vec3 position;
out vec2 v_p;
void main() {
  v_p = mix(u_extent.xy, u_extent.zw, position.xy);
  v_p.x = clamp(v_p.x, u_span.x, u_span.y);
  gl_Position = projectionMatrix * viewMatrix * vec4(v_p, 0.0, 1.0);
}`;

const HEADER = /* glsl */ `
precision highp float;
precision highp int;
precision highp isampler2D;
precision highp sampler2D;
`;

const CELLS = /* glsl */ `
uniform isampler2D u_codes;   // the token's neurons, a layer's bytes in a row or several
uniform ivec4 u_packing;           // texture width, rows a layer, columns of cells, d_mlp
uniform ivec4 u_pooled;            // columns and rows of a layer in each pooled texture

float louder(float a, float b) { return abs(b) > abs(a) ? b : a; }

// 2.0 stands for a value that is not finite: drawn in its own colour, never as loud.
float decode(int code) { return code == -128 ? 2.0 : float(code) * (1.0 / 127.0); }

float neuron_code(int layer, ivec2 c) {
  int n = min(c.y * u_packing.z + c.x, u_packing.w - 1);
  // No integer division: n is far below 2^24, so this is exact.
  int row = int((float(n) + 0.5) / float(u_packing.x));
  return decode(texelFetch(u_codes, ivec2(n - row * u_packing.x, layer * u_packing.y + row), 0).r);
}
`;

export const POOL_VERTEX = /* glsl */ `
in vec3 position;
void main() { gl_Position = vec4(position.xy * 2.0 - 1.0, 0.0, 1.0); }`;

/** Both sizes in one texture: 4 x 4 at the bottom, one row more of it for filtering, then 16 x 16. */
export const POOL_FRAGMENT = /* glsl */ `${HEADER}${CELLS}
uniform int u_rows, u_n_layers;
out vec4 colour;
void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  bool coarse = at.y > u_pooled.y;
  int columns = coarse ? u_pooled.z : u_pooled.x;
  int row = coarse ? at.y - u_pooled.y - 1 : min(at.y, u_pooled.y - 1);
  int layer = at.x / columns;
  int blocks = layer >= u_n_layers ? 0 : coarse ? 4 : 1;
  ivec2 from = ivec2(at.x - layer * columns, row) * 4 * max(blocks, 1);
  ivec2 end = ivec2(u_packing.z, u_rows);
  float value = 0.0;
  // By blocks of 4 x 4 in both, so that of equally loud cells both show the same one.
  for (int by = 0; by < blocks; by++) for (int bx = 0; bx < blocks; bx++) {
    ivec2 start = from + ivec2(bx, by) * 4;
    ivec2 stop = min(start + 4, end);
    for (int y = start.y; y < stop.y; y++) for (int x = start.x; x < stop.x; x++)
      value = louder(value, clamp(neuron_code(layer, ivec2(x, y)), -1.0, 1.0));
  }
  colour = vec4(abs(value), (round(value * 127.0) + 128.0) / 255.0, 0.0, 1.0);
}`;

const PLACE = /* glsl */ `
uniform float u_pitch, u_panel_width, u_n_layers;
in vec2 v_p;
out vec4 colour;

struct Place { int layer; float x; vec2 px; float inside; };

// Layer, place within its panel, world units a pixel, and whether this is the panel or the gap beside it.
Place place() {
  Place at;
  at.px = vec2(length(vec2(dFdx(v_p.x), dFdy(v_p.x))), length(vec2(dFdx(v_p.y), dFdy(v_p.y))));
  float layer = clamp(floor(v_p.x / u_pitch), 0.0, u_n_layers - 1.0);
  at.layer = int(layer);
  at.x = v_p.x - layer * u_pitch - 0.5 * (u_pitch - u_panel_width);
  at.inside = step(0.0, at.x) * step(at.x, u_panel_width);
  return at;
}
`;

const RAMP = /* glsl */ `
uniform sampler2D u_ramp;          // 256 colours from the map's lower to its upper end
uniform float u_diverging;
uniform vec3 u_panel_colour, u_odd_colour;
vec3 ramp(float value) {
  float at = mix(abs(value), value * 0.5 + 0.5, u_diverging);
  vec3 rgb = texelFetch(u_ramp, ivec2(clamp(int(at * 255.0 + 0.5), 0, 255), 0), 0).rgb;
  return abs(value) > 1.5 ? u_odd_colour : rgb;
}
float box(vec2 p, vec2 half_size, float radius) {
  vec2 q = abs(p) - half_size + radius;
  return length(max(q, 0.0)) + min(max(q.x, q.y), 0.0) - radius;
}
`;

/** The shown token's neurons. */
export const PANEL_FRAGMENT = /* glsl */ `${HEADER}${CELLS}${PLACE}${RAMP}
uniform sampler2D u_pool; // loudest of 4 x 4, then of 16 x 16 cells, laid out as the sheet: size, signed value
uniform float u_cell, u_rows, u_panel_top, u_glow;

float pooled(int first_row, int layer, ivec2 from, ivec2 count, ivec2 size) {
  vec2 loudest = vec2(0.0, 128.0 / 255.0);
  for (int y = 0; y < count.y; y++) for (int x = 0; x < count.x; x++) {
    ivec2 c = clamp(from + ivec2(x, y), ivec2(0), size - 1);
    vec2 value = texelFetch(u_pool, c + ivec2(layer * size.x, first_row), 0).rg;
    loudest = value.r > loudest.r ? value : loudest;
  }
  return (round(loudest.g * 255.0) - 128.0) * (1.0 / 127.0);
}

// The loudest cell that a pixel covers, so that a lone loud neuron does not vanish.
float loudest_neuron(int layer, vec2 at, vec2 foot) {
  ivec2 size = ivec2(u_packing.z, int(u_rows));
  float big = max(foot.x, foot.y);
  bool fine = big <= 3.0 && foot.x * foot.y <= 4.0;
  bool middle = big <= 12.0;
  ivec2 count = max(ivec2(ceil(foot - 0.2)), ivec2(1));
  ivec2 from = big <= 1.2 ? ivec2(at) : ivec2(floor(at - 0.5 * foot + 0.5));
  float value = 0.0;
  ivec2 n = fine ? count : ivec2(0);
  for (int y = 0; y < n.y; y++) for (int x = 0; x < n.x; x++)
    value = louder(value, neuron_code(layer, clamp(from + ivec2(x, y), ivec2(0), size - 1)));
  vec2 corner = at - 0.5 * foot;
  vec2 share = foot * 0.25;
  n = !fine && middle ? max(ivec2(ceil(share - 0.2)), ivec2(1)) : ivec2(0);
  value = louder(value, pooled(0, layer, ivec2(floor(corner * 0.25 + 0.5)), n, u_pooled.xy));
  share = min(foot * 0.0625, vec2(8.0));
  n = middle ? ivec2(0) : max(ivec2(ceil(share - 0.2)), ivec2(1));
  return louder(value, pooled(u_pooled.y + 1, layer, ivec2(floor(corner * 0.0625 + 0.5)), n, u_pooled.zw));
}

void main() {
  Place here = place();
  vec2 at = vec2(here.x, u_panel_top - v_p.y) / u_cell;
  vec2 foot = here.px / u_cell;
  float value = loudest_neuron(here.layer, at, foot);
  vec3 rgb = ramp(value);
  float big = max(foot.x, foot.y);
  for (int once = 0; once < (big < 0.5 ? 1 : 0); once++) {
    vec2 p = fract(at) - 0.5;
    float mask = 1.0 - smoothstep(-0.5 * big, 0.5 * big, box(p, vec2(0.44), 0.1));
    // A negative value has a bar across it once there is room to see one.
    float bar = 1.0 - smoothstep(0.0, big, box(p, vec2(0.26, 0.055), 0.02));
    bar *= step(value, -0.06) * step(-1.5, value) * smoothstep(0.2, 0.1, big);
    rgb = mix(rgb, u_panel_colour, max(bar * 0.85, (1.0 - mask) * smoothstep(0.5, 0.22, big)));
  }
  for (int once = 0; once < (u_glow > 0.0 ? 1 : 0); once++) {
    vec2 uv = (vec2(float(here.layer * u_pooled.x), 0.0) + clamp(at / 4.0, vec2(0.3), vec2(u_pooled.xy) - 0.3))
      / vec2(textureSize(u_pool, 0).xy);
    float near = textureLod(u_pool, uv, 0.0).r;
    float halo = smoothstep(0.66, 1.0, near);
    rgb += ramp(mix(0.55 + 0.1 * halo, sign(value) * near, u_diverging)) * halo * u_glow * 0.2;
  }
  colour = vec4(rgb * here.inside, here.inside);
}`;

const HEADS = /* glsl */ `
uniform isampler2D u_blocks;  // heads of a layer in a row, then the whole attn, then the whole mlp
uniform vec4 u_heads;              // left within the panel, bottom, top, pitch
uniform ivec3 u_head_grid;         // columns, rows, n_heads
uniform vec3 u_disc_colour;
float head_code(int layer, ivec2 c) {
  int n = clamp(c.y * u_head_grid.x + c.x, 0, u_head_grid.z - 1);
  int code = texelFetch(u_blocks, ivec2(n, layer), 0).r;
  bool there = c.x >= 0 && c.y >= 0 && c.x < u_head_grid.x && c.y < u_head_grid.y && c.y * u_head_grid.x + c.x < u_head_grid.z;
  return there ? (code == -128 ? 2.0 : float(code) * (1.0 / 127.0)) : -9.0;
}
`;

/** The shown token's heads. */
export const HEADS_FRAGMENT = /* glsl */ `${HEADER}${PLACE}${RAMP}${HEADS}
uniform float u_glow;
void main() {
  Place here = place();
  vec2 at = vec2(here.x - u_heads.x, u_heads.z - v_p.y) / u_heads.w;
  float foot = max(here.px.x, here.px.y) / u_heads.w;
  ivec2 c = ivec2(floor(at));
  float value = head_code(here.layer, c);
  float d = length(fract(at) - 0.5);
  float mask = 1.0 - smoothstep(0.40 - 0.5 * foot, 0.40 + 0.5 * foot, d);
  mask = mix(mask, 0.8, smoothstep(0.5, 0.9, foot)) * step(-8.0, value);
  float rim = smoothstep(0.31 - foot, 0.36, d) * (1.0 - smoothstep(0.1, 0.4, foot));
  vec3 rgb = ramp(value);
  rgb = mix(rgb, mix(rgb, u_disc_colour, 0.55), rim * (1.0 - min(abs(value), 1.0)));
  vec3 light = vec3(0.0);
  int reach = u_glow > 0.0 && foot < 0.4 ? 1 : -2;
  for (int dy = -1; dy <= reach; dy++) for (int dx = -1; dx <= 1; dx++) {
    float other = head_code(here.layer, c + ivec2(dx, dy));
    float away = length(at - vec2(c + ivec2(dx, dy)) - 0.5);
    float loud = smoothstep(0.6, 1.0, abs(other)) * step(abs(other), 1.5);
    for (int once = 0; once < (loud > 0.0 ? 1 : 0); once++)
      light += ramp(other) * loud * max(0.0, exp(-4.0 * away * away) - 0.04) * u_glow * 0.5;
  }
  colour = vec4(rgb * mask + light, mask);
}`;

/** The strips that stand for a layer's whole attention and whole MLP. */
export const TABS_FRAGMENT = /* glsl */ `${HEADER}${PLACE}${RAMP}
uniform isampler2D u_blocks;
uniform int u_tab_column;
uniform vec2 u_tab;                // bottom, top
uniform vec3 u_tab_colour;
void main() {
  Place here = place();
  int code = texelFetch(u_blocks, ivec2(u_tab_column, here.layer), 0).r;
  float value = code == -128 ? 2.0 : float(code) * (1.0 / 127.0);
  vec2 half_size = vec2(u_panel_width, u_tab.y - u_tab.x) * 0.5;
  float pixel = max(here.px.x, here.px.y);
  float edge = box(vec2(here.x, v_p.y) - vec2(half_size.x, 0.5 * (u_tab.x + u_tab.y)), half_size, min(0.05, half_size.x));
  float mask = 1.0 - smoothstep(-pixel, 0.0, edge);
  colour = vec4(mix(u_tab_colour, ramp(value), 0.12 + 0.6 * min(abs(value), 1.0)) * mask, mask);
}`;

/** What the shown sheet stands on: opaque, so that nothing behind is taken for part of it, and hides what is behind. */
export const GROUND_FRAGMENT = /* glsl */ `
precision highp float;
uniform vec3 u_panel_colour;
out vec4 colour;
void main() { colour = vec4(u_panel_colour, 1.0); }`;
