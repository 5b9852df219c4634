// The sheet of the shown token: every neuron, head and block of the model, in a handful of quads. A new token is a
// texture upload and nothing else.
import {
  BufferAttribute,
  BufferGeometry,
  ByteType,
  DataTexture,
  GLSL3,
  type IUniform,
  Mesh,
  NearestFilter,
  NoBlending,
  type Object3D,
  RawShaderMaterial,
  RedIntegerFormat,
  Vector2,
  Vector3,
  Vector4,
  type WebGLRenderer,
} from "three";
import { SHEET_WIDTH, type Blocks } from "../layout/blocks";
import type { ColourMap } from "../layout/colour";
import type { SheetCodes } from "../layout/encode";
import { type Packing, write_slice } from "../layout/texels";
import { ink_material } from "./ink_material";
import { Pooling } from "./pooling";
import { everywhere, set_span } from "./span_uniform";
import {
  GROUND_FRAGMENT,
  HEADS_FRAGMENT,
  PANEL_FRAGMENT,
  SHEET_VERTEX,
  TABS_FRAGMENT,
} from "./sheet_shader";
import { rgb_floats, type SceneTheme } from "./theme";

function byte_array(data: Int8Array<ArrayBuffer>, width: number, height: number): DataTexture {
  const texture = new DataTexture(data, width, height);
  texture.format = RedIntegerFormat;
  texture.type = ByteType;
  texture.internalFormat = "R8I";
  texture.minFilter = texture.magFilter = NearestFilter;
  texture.unpackAlignment = 1;
  texture.needsUpdate = true;
  return texture;
}

export class ShownSheet {
  readonly meshes: Object3D[] = [];
  /** What is shown now, laid out as the texture is: a step's own array where that fits, else `own_codes`. */
  private codes: Int8Array;
  private readonly own_codes: Int8Array<ArrayBuffer>;
  private readonly block_codes: Int8Array<ArrayBuffer>;
  private readonly codes_texture: DataTexture;
  private readonly blocks_texture: DataTexture;
  private readonly ramp: DataTexture;
  private readonly pooling: Pooling;
  private readonly square = new BufferGeometry();
  private readonly materials: RawShaderMaterial[] = [];
  private readonly uniforms: Record<string, IUniform>;
  private readonly block_stride: number;
  private glow = 1;

  constructor(
    private readonly blocks: Blocks,
    private readonly packing: Packing,
  ) {
    this.block_stride = blocks.n_heads + 2;
    this.codes = this.own_codes = new Int8Array(packing.slice_size);
    this.block_codes = new Int8Array(this.block_stride * blocks.n_layers);
    this.codes_texture = byte_array(this.own_codes, packing.width, packing.height);
    this.blocks_texture = byte_array(this.block_codes, this.block_stride, blocks.n_layers);
    this.ramp = new DataTexture(new Uint8Array(256 * 4), 256, 1);
    this.pooling = new Pooling(blocks, packing, this.codes_texture);
    this.square.setAttribute("position", new BufferAttribute(new Float32Array([0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0]), 3));
    this.square.setIndex([0, 1, 2, 2, 1, 3]);
    this.uniforms = this.build_uniforms();
    this.build_meshes();
  }

  private build_uniforms(): Record<string, IUniform> {
    const b = this.blocks;
    return {
      u_codes: { value: this.codes_texture },
      u_blocks: { value: this.blocks_texture },
      ...this.pooling.uniforms,
      u_ramp: { value: this.ramp },
      u_diverging: { value: 0 },
      u_glow: { value: 1 },
      u_panel_colour: { value: new Vector3() },
      u_disc_colour: { value: new Vector3() },
      u_tab_colour: { value: new Vector3() },
      u_odd_colour: { value: new Vector3() },
      u_span: { value: everywhere() },
      u_pitch: { value: b.layer_pitch },
      u_n_layers: { value: b.n_layers },
      u_panel_width: { value: b.panel_width },
      u_cell: { value: b.cell },
      u_rows: { value: b.rows },
      u_panel_top: { value: b.panel_top },
      u_heads: { value: new Vector4(b.heads_left, b.heads_bottom, b.heads_top, b.head_pitch) },
      u_head_grid: { value: [b.head_columns, b.head_rows, b.n_heads] },
    };
  }

  private build_meshes(): void {
    const b = this.blocks;
    const edge = 0.05;
    this.add_ground(b.panel_bottom - edge, b.top + edge);
    const tab = (column: number, span: { bottom: number; top: number }): Record<string, IUniform> => ({
      u_tab_column: { value: column },
      u_tab: { value: new Vector2(span.bottom, span.top) },
    });
    if (b.rows > 0) {
      this.add(PANEL_FRAGMENT, b.panel_bottom, b.panel_top, 2);
      this.add(TABS_FRAGMENT, b.mlp_tab.bottom, b.mlp_tab.top, 2, tab(b.n_heads + 1, b.mlp_tab));
    }
    if (b.n_heads > 0) {
      this.add(HEADS_FRAGMENT, b.heads_bottom - b.head_pitch, b.heads_top + b.head_pitch, 3);
      this.add(TABS_FRAGMENT, b.attn_tab.bottom, b.attn_tab.top, 2, tab(b.n_heads, b.attn_tab));
    }
  }

  private add(shader: string, bottom: number, top: number, order: number, more: Record<string, IUniform> = {}): void {
    const extent = { u_extent: { value: new Vector4(0, bottom, SHEET_WIDTH, top) } };
    this.add_mesh(ink_material(SHEET_VERTEX, shader, { ...this.uniforms, ...extent, ...more }), order);
  }

  private add_ground(bottom: number, top: number): void {
    const material = new RawShaderMaterial({
      glslVersion: GLSL3,
      vertexShader: SHEET_VERTEX,
      fragmentShader: GROUND_FRAGMENT,
      uniforms: { ...this.uniforms, u_extent: { value: new Vector4(-0.04, bottom, SHEET_WIDTH + 0.04, top) } },
      // Among the transparent, which are drawn in the order given.
      transparent: true,
      blending: NoBlending,
      side: 2,
    });
    this.add_mesh(material, 1);
  }

  private add_mesh(material: RawShaderMaterial, order: number): void {
    const mesh = new Mesh(this.square, material);
    mesh.frustumCulled = false;
    mesh.renderOrder = order;
    this.materials.push(material);
    this.meshes.push(mesh);
  }

  /** Show one token's codes; uploaded with the next frame. The arrays are kept, so they must not change later. */
  write(codes: SheetCodes): void {
    this.codes = codes.neurons ? this.laid_out(codes.neurons) : this.own_codes.fill(0);
    (this.codes_texture.image as { data: Int8Array }).data = this.codes;
    this.block_codes.set(codes.blocks_codes);
    this.touch();
  }

  /** `neurons` as the texture wants them: millions of bytes are copied only where its rows are padded. */
  private laid_out(neurons: Int8Array): Int8Array {
    if (neurons.length === this.packing.slice_size) return neurons;
    write_slice(this.own_codes, 0, neurons, this.packing, this.blocks.d_mlp);
    return this.own_codes;
  }

  private touch(): void {
    this.codes_texture.needsUpdate = true;
    this.blocks_texture.needsUpdate = true;
    this.pooling.touch();
  }

  /** Nothing is shown where the position has no values. */
  set_visible(visible: boolean): void {
    for (const mesh of this.meshes) mesh.visible = visible;
  }

  /** Only what lies between, on x, is drawn. */
  set_span(span: readonly [number, number]): void {
    set_span(this.uniforms, span);
  }

  /** Code of a neuron as shown, -127..127. */
  code_of(layer: number, neuron: number): number {
    return this.codes[layer * this.packing.width * this.packing.rows_per_layer + neuron] ?? 0;
  }

  /** Pool what was written since the last frame; call before drawing. */
  before_render(renderer: WebGLRenderer): void {
    this.pooling.run(renderer);
  }

  set_colours(theme: SceneTheme, map: ColourMap): void {
    const u = this.uniforms;
    (this.ramp.image.data as Uint8Array).set(map.lut);
    this.ramp.needsUpdate = true;
    u["u_diverging"]!.value = map.diverging ? 1 : 0;
    this.glow = theme.glow;
    u["u_glow"]!.value = theme.glow;
    const set = (name: string, hex: string): void => void (u[name]!.value as Vector3).set(...rgb_floats(hex));
    set("u_panel_colour", theme.panel);
    set("u_disc_colour", theme.disc);
    set("u_tab_colour", theme.tab);
    set("u_odd_colour", theme.odd);
  }

  /** Softness around loud cells costs fetches: left out while a slow machine turns the model. */
  set_soft(soft: boolean): void {
    this.uniforms["u_glow"]!.value = soft ? this.glow : 0;
  }

  /** After a lost context: everything goes up again from the CPU copies. */
  restore(): void {
    this.touch();
    this.ramp.needsUpdate = true;
  }

  dispose(): void {
    this.square.dispose();
    for (const material of this.materials) material.dispose();
    this.codes_texture.dispose();
    this.blocks_texture.dispose();
    this.ramp.dispose();
    this.pooling.dispose();
  }
}
