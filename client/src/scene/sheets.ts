// The sheets of the shown token and of those before it: one draw call, one texture slice a token.
import {
  ByteType,
  CustomBlending,
  DataArrayTexture,
  DataTexture,
  DynamicDrawUsage,
  GLSL3,
  InstancedBufferAttribute,
  InstancedBufferGeometry,
  BufferAttribute,
  Mesh,
  NearestFilter,
  LinearFilter,
  OneFactor,
  OneMinusSrcAlphaFactor,
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
import { Pooling } from "./pooling";
import { SHEET_FRAGMENT, SHEET_VERTEX } from "./sheet_shader";
import { rgb_floats, type SceneTheme } from "./theme";

/** One sheet to draw: its texture slot, its place in time, how strongly. */
export interface SheetPlace {
  slot: number;
  z: number;
  fade: number;
}

function byte_array(data: Int8Array<ArrayBuffer>, width: number, height: number, slots: number): DataArrayTexture {
  const texture = new DataArrayTexture(data, width, height, slots);
  texture.format = RedIntegerFormat;
  texture.type = ByteType;
  texture.internalFormat = "R8I";
  texture.minFilter = texture.magFilter = NearestFilter;
  texture.unpackAlignment = 1;
  texture.needsUpdate = true;
  return texture;
}

export class Sheets {
  readonly mesh: Mesh;
  private readonly codes: Int8Array<ArrayBuffer>;
  private readonly block_codes: Int8Array<ArrayBuffer>;
  private readonly codes_texture: DataArrayTexture;
  private readonly blocks_texture: DataArrayTexture;
  private readonly ramp: DataTexture;
  private readonly pooling: Pooling;
  private readonly geometry = new InstancedBufferGeometry();
  private readonly places: InstancedBufferAttribute;
  private readonly material: RawShaderMaterial;
  private readonly block_stride: number;

  constructor(
    private readonly blocks: Blocks,
    private readonly packing: Packing,
    private readonly slots: number,
  ) {
    this.block_stride = blocks.n_heads + 2;
    this.codes = new Int8Array(packing.slice_size * slots);
    this.block_codes = new Int8Array(this.block_stride * blocks.n_layers * slots);
    this.codes_texture = byte_array(this.codes, packing.width, packing.height, slots);
    this.blocks_texture = byte_array(this.block_codes, this.block_stride, blocks.n_layers, slots);
    this.ramp = new DataTexture(new Uint8Array(256 * 4), 256, 1);
    this.ramp.minFilter = this.ramp.magFilter = LinearFilter;
    this.pooling = new Pooling(blocks, packing, slots, this.codes_texture);
    this.geometry.setAttribute("position", new BufferAttribute(new Float32Array([0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0]), 3));
    this.geometry.setIndex([0, 1, 2, 2, 1, 3]);
    this.places = new InstancedBufferAttribute(new Float32Array(3 * slots), 3).setUsage(DynamicDrawUsage);
    this.geometry.setAttribute("a_sheet", this.places);
    this.geometry.instanceCount = 0;
    this.material = this.build_material();
    this.mesh = new Mesh(this.geometry, this.material);
    this.mesh.frustumCulled = false;
    this.mesh.renderOrder = 1;
  }

  private build_material(): RawShaderMaterial {
    const b = this.blocks;
    const uniforms = {
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
      u_extent: { value: new Vector4(0, b.panel_bottom, SHEET_WIDTH, b.top + 0.02) },
      u_pitch: { value: b.layer_pitch },
      u_panel_width: { value: b.panel_width },
      u_cell: { value: b.cell },
      u_rows: { value: b.rows },
      u_panel: { value: new Vector2(b.panel_bottom, b.panel_top) },
      u_tabs: { value: new Vector4(b.mlp_tab.bottom, b.mlp_tab.top, b.attn_tab.bottom, b.attn_tab.top) },
      u_heads: { value: new Vector4(b.heads_left, b.heads_bottom, b.heads_top, b.head_pitch) },
      u_head_grid: { value: [b.head_columns, b.n_heads] },
    };
    return new RawShaderMaterial({
      glslVersion: GLSL3,
      vertexShader: SHEET_VERTEX,
      fragmentShader: SHEET_FRAGMENT,
      uniforms,
      transparent: true,
      depthTest: false,
      depthWrite: false,
      side: 2,
      blending: CustomBlending,
      blendSrc: OneFactor,
      blendDst: OneMinusSrcAlphaFactor,
    });
  }

  /** Keep one token's codes in a slot; uploaded with the next frame. */
  write(slot: number, codes: SheetCodes): void {
    const from = slot * this.packing.slice_size;
    if (codes.neurons) write_slice(this.codes, from, codes.neurons, this.packing, this.blocks.d_mlp);
    else this.codes.fill(0, from, from + this.packing.slice_size);
    this.block_codes.set(codes.blocks_codes, slot * this.block_stride * this.blocks.n_layers);
    this.touch(slot);
  }

  private touch(slot: number): void {
    for (const texture of [this.codes_texture, this.blocks_texture]) {
      texture.addLayerUpdate(slot);
      texture.needsUpdate = true;
    }
    this.pooling.touch(slot);
  }

  /** Code of a neuron as shown in a slot, -127..127. */
  code_of(slot: number, layer: number, neuron: number): number {
    const stride = this.packing.width * this.packing.rows_per_layer;
    return this.codes[slot * this.packing.slice_size + layer * stride + neuron] ?? 0;
  }

  /** Which sheets to draw, in drawing order (farthest from the camera first). */
  place(places: readonly SheetPlace[]): void {
    places.slice(0, this.slots).forEach((place, i) => this.places.setXYZ(i, place.slot, place.z, place.fade));
    this.places.needsUpdate = true;
    this.geometry.instanceCount = Math.min(places.length, this.slots);
  }

  /** Pool what was written since the last frame; call before drawing. */
  before_render(renderer: WebGLRenderer): void {
    this.pooling.run(renderer);
  }

  set_colours(theme: SceneTheme, map: ColourMap): void {
    const u = this.material.uniforms;
    (this.ramp.image.data as Uint8Array).set(map.lut);
    this.ramp.needsUpdate = true;
    u["u_diverging"]!.value = map.diverging ? 1 : 0;
    u["u_glow"]!.value = theme.glow;
    (u["u_panel_colour"]!.value as Vector3).set(...rgb_floats(theme.panel));
    (u["u_disc_colour"]!.value as Vector3).set(...rgb_floats(theme.disc));
    (u["u_tab_colour"]!.value as Vector3).set(...rgb_floats(theme.tab));
    (u["u_odd_colour"]!.value as Vector3).set(...rgb_floats(theme.odd));
  }

  /** After a lost context: everything goes up again from the CPU copies. */
  restore(used_slots: Iterable<number>): void {
    for (const slot of used_slots) this.touch(slot);
    this.places.needsUpdate = true;
    this.ramp.needsUpdate = true;
  }

  dispose(): void {
    this.geometry.dispose();
    this.material.dispose();
    this.codes_texture.dispose();
    this.blocks_texture.dispose();
    this.ramp.dispose();
    this.pooling.dispose();
  }
}
