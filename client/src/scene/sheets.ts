// The sheets of the shown token and of those before it: a few quads, one texture slice a token.
import {
  BufferAttribute,
  ByteType,
  DataArrayTexture,
  DataTexture,
  DynamicDrawUsage,
  GLSL3,
  InstancedBufferAttribute,
  InstancedBufferGeometry,
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
import {
  GROUND_FRAGMENT,
  HEADS_FRAGMENT,
  PANEL_FRAGMENT,
  PAST_HEADS_FRAGMENT,
  PAST_PANEL_FRAGMENT,
  SHEET_VERTEX,
  TABS_FRAGMENT,
} from "./sheet_shader";
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

/** A unit square, once for each place. */
class Squares {
  readonly geometry = new InstancedBufferGeometry();
  private readonly places: InstancedBufferAttribute;

  constructor(capacity: number) {
    this.geometry.setAttribute("position", new BufferAttribute(new Float32Array([0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 1, 0]), 3));
    this.geometry.setIndex([0, 1, 2, 2, 1, 3]);
    this.places = new InstancedBufferAttribute(new Float32Array(3 * capacity), 3).setUsage(DynamicDrawUsage);
    this.geometry.setAttribute("a_sheet", this.places);
    this.geometry.instanceCount = 0;
  }

  set(places: readonly SheetPlace[]): void {
    places.forEach((place, i) => this.places.setXYZ(i, place.slot, place.z, place.fade));
    this.places.needsUpdate = true;
    this.geometry.instanceCount = places.length;
  }
}

export class Sheets {
  readonly meshes: Object3D[] = [];
  private readonly codes: Int8Array<ArrayBuffer>;
  private readonly block_codes: Int8Array<ArrayBuffer>;
  private readonly codes_texture: DataArrayTexture;
  private readonly blocks_texture: DataArrayTexture;
  private readonly ramp: DataTexture;
  private readonly pooling: Pooling;
  private readonly now = new Squares(1);
  private readonly past: Squares;
  private readonly materials: RawShaderMaterial[] = [];
  private readonly uniforms: Record<string, IUniform>;
  private readonly block_stride: number;
  private glow = 1;

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
    this.pooling = new Pooling(blocks, packing, slots, this.codes_texture);
    this.past = new Squares(slots);
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
      u_past_colours: { value: [new Vector3(), new Vector3(), new Vector3(), new Vector3()] },
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
      this.add(this.now, PANEL_FRAGMENT, b.panel_bottom, b.panel_top, 2);
      this.add(this.past, PAST_PANEL_FRAGMENT, b.panel_bottom, b.panel_top, 4, {}, true);
      this.add(this.now, TABS_FRAGMENT, b.mlp_tab.bottom, b.mlp_tab.top, 2, tab(b.n_heads + 1, b.mlp_tab));
    }
    if (b.n_heads > 0) {
      this.add(this.now, HEADS_FRAGMENT, b.heads_bottom - b.head_pitch, b.heads_top + b.head_pitch, 3);
      this.add(this.past, PAST_HEADS_FRAGMENT, b.heads_bottom, b.heads_top, 4, {}, true);
      this.add(this.now, TABS_FRAGMENT, b.attn_tab.bottom, b.attn_tab.top, 2, tab(b.n_heads, b.attn_tab));
    }
  }

  private add(squares: Squares, shader: string, bottom: number, top: number, order: number, more: Record<string, IUniform> = {}, behind = false): void {
    const extent = { u_extent: { value: new Vector4(0, bottom, SHEET_WIDTH, top) } };
    this.add_mesh(squares, ink_material(SHEET_VERTEX, shader, { ...this.uniforms, ...extent, ...more }, behind), order);
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
    this.add_mesh(this.now, material, 1);
  }

  private add_mesh(squares: Squares, material: RawShaderMaterial, order: number): void {
    const mesh = new Mesh(squares.geometry, material);
    mesh.frustumCulled = false;
    mesh.renderOrder = order;
    this.materials.push(material);
    this.meshes.push(mesh);
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

  /** Which sheets to draw: the shown token's, and earlier ones in drawing order (farthest from the camera first). */
  place(now: SheetPlace | null, past: readonly SheetPlace[]): void {
    this.now.set(now ? [now] : []);
    this.past.set(past);
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
    const entries = map.diverging ? [165, 225, 90, 30] : [110, 215, 110, 215];
    entries.forEach((entry, i) => {
      const [r, g, b] = map.lut.subarray(entry * 4);
      (u["u_past_colours"]!.value as Vector3[])[i]!.set(r! / 255, g! / 255, b! / 255);
    });
  }

  /** Softness around loud cells costs fetches: left out while a slow machine turns the model. */
  set_soft(soft: boolean): void {
    this.uniforms["u_glow"]!.value = soft ? this.glow : 0;
  }

  /** After a lost context: everything goes up again from the CPU copies. */
  restore(used_slots: Iterable<number>): void {
    for (const slot of used_slots) this.touch(slot);
    this.ramp.needsUpdate = true;
  }

  dispose(): void {
    this.now.geometry.dispose();
    this.past.geometry.dispose();
    for (const material of this.materials) material.dispose();
    this.codes_texture.dispose();
    this.blocks_texture.dispose();
    this.ramp.dispose();
    this.pooling.dispose();
  }
}
