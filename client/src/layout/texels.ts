// How one token's cells are packed into a texture: a layer's bytes in a row, wrapped where a
// layer is wider than a texture may be. The shader in scene/ does the same arithmetic.

/** Largest texture side counted on; FACTS of software WebGL. */
export const MAX_TEXTURE_SIDE = 8192;

export interface Packing {
  /** Texels in a row, and rows that one layer takes. */
  width: number;
  rows_per_layer: number;
  height: number;
  /** Bytes of one token's texture. */
  slice_size: number;
}

/** Throws RangeError when the layers' rows exceed a texture's height. */
export function pack_cells(n_layers: number, d_mlp: number, max_side: number = MAX_TEXTURE_SIDE): Packing {
  const rows_per_layer = Math.max(1, Math.ceil(d_mlp / max_side));
  const width = Math.max(1, Math.ceil(d_mlp / rows_per_layer));
  const height = n_layers * rows_per_layer;
  if (height > max_side) throw new RangeError(`${n_layers} layers of ${d_mlp} neurons do not fit a texture`);
  return { width, rows_per_layer, height, slice_size: width * height };
}

/** Column and row of the texel that holds a neuron. */
export function texel_of(packing: Packing, layer: number, neuron: number): { x: number; y: number } {
  return {
    x: neuron % packing.width,
    y: layer * packing.rows_per_layer + Math.floor(neuron / packing.width),
  };
}

/** Copy codes int8 [n_layers, d_mlp] into the slice that starts at `offset` of `target`. */
export function write_slice(target: Int8Array, offset: number, codes: Int8Array, packing: Packing, d_mlp: number): void {
  const stride = packing.width * packing.rows_per_layer;
  if (stride === d_mlp) {
    target.set(codes.subarray(0, packing.slice_size), offset);
    return;
  }
  const n_layers = packing.height / packing.rows_per_layer;
  for (let layer = 0; layer < n_layers; layer++) {
    target.set(codes.subarray(layer * d_mlp, (layer + 1) * d_mlp), offset + layer * stride);
  }
}
