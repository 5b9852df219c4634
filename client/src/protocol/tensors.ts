// Wire tensors to typed arrays, bit for bit what the server quantised: the counterpart of tensors.py.
import { crc32 } from "./crc32";
import { DecodeError } from "./errors";
import type { Tensor } from "./generated";

type DType = Tensor["dtype"];
type TensorValues = Int8Array | Uint8Array | Uint16Array | Int32Array | Uint32Array | Float32Array;

/** A reconstructed tensor: aligned, owned, float16 widened to float32 after its checksum was compared. */
export interface HostTensor {
  shape: readonly number[];
  values: TensorValues;
}

/** The exact bytes of a tensor, kept as the base that the next step may differ from. */
export interface RawTensor {
  dtype: DType;
  shape: readonly number[];
  bytes: Uint8Array;
}

const ITEM_BYTES: Record<DType, number> = {
  int8: 1, uint8: 1, uint16: 2, float16: 2, int32: 4, uint32: 4, float32: 4,
};

/** The bytes `tensor` stands for, in a buffer of their own; raises DecodeError("bad_tensor"). */
export function reconstruct(tensor: Tensor, base: RawTensor | undefined): RawTensor {
  const item_bytes = ITEM_BYTES[tensor.dtype];
  const n_bytes = tensor.shape.reduce((product, size) => product * size, 1) * item_bytes;
  const bytes =
    tensor.indices === null || tensor.indices === undefined
      ? copy_whole(tensor, n_bytes)
      : apply_difference(tensor, tensor.indices, base, item_bytes);
  if (crc32(bytes) !== tensor.crc32) throw new DecodeError("bad_tensor", "checksum differs: a step was lost");
  return { dtype: tensor.dtype, shape: tensor.shape, bytes };
}

function copy_whole(tensor: Tensor, n_bytes: number): Uint8Array {
  if (tensor.data.length !== n_bytes) {
    throw new DecodeError("bad_tensor", `${tensor.data.length} bytes do not fill [${tensor.shape}] ${tensor.dtype}`);
  }
  return tensor.data.slice();
}

function apply_difference(
  tensor: Tensor, raw_indices: Uint8Array, base: RawTensor | undefined, item_bytes: number,
): Uint8Array {
  if (!base || base.dtype !== tensor.dtype || base.shape.join() !== tensor.shape.join()) {
    throw new DecodeError("bad_tensor", "a sparse tensor came without its base");
  }
  const n_changed = raw_indices.length / 4;
  if (!Number.isInteger(n_changed) || tensor.data.length !== n_changed * item_bytes) {
    throw new DecodeError("bad_tensor", "a sparse tensor's indices and values differ in number");
  }
  const bytes = base.bytes.slice();
  const n_items = bytes.length / item_bytes;
  const indices = new DataView(raw_indices.buffer, raw_indices.byteOffset, raw_indices.byteLength);
  for (let i = 0; i < n_changed; i++) {
    const index = indices.getUint32(4 * i, true);
    if (index >= n_items) throw new DecodeError("bad_tensor", "a sparse tensor points past its end");
    for (let b = 0; b < item_bytes; b++) bytes[index * item_bytes + b] = tensor.data[i * item_bytes + b]!;
  }
  return bytes;
}

/** Typed values of `raw`, in a buffer of their own that may be given away. */
export function to_host(raw: RawTensor): HostTensor {
  const buffer = raw.bytes.slice().buffer;
  return { shape: raw.shape, values: typed(raw.dtype, buffer) };
}

function typed(dtype: DType, buffer: ArrayBuffer): TensorValues {
  // Typed arrays are in the machine's order; every machine with a browser and WebGL2 is little-endian.
  switch (dtype) {
    case "int8": return new Int8Array(buffer);
    case "uint8": return new Uint8Array(buffer);
    case "uint16": return new Uint16Array(buffer);
    case "int32": return new Int32Array(buffer);
    case "uint32": return new Uint32Array(buffer);
    case "float32": return new Float32Array(buffer);
    case "float16": return widen_float16(new Uint16Array(buffer));
  }
}

/** IEEE 754 binary16 bit patterns as float32 values: exact, with subnormals, infinities, NaN and -0. */
export function widen_float16(halves: Uint16Array): Float32Array {
  const values = new Float32Array(halves.length);
  for (let i = 0; i < halves.length; i++) {
    const half = halves[i]!;
    const sign = half & 0x8000 ? -1 : 1;
    const exponent = (half >> 10) & 0x1f;
    const mantissa = half & 0x3ff;
    if (exponent === 0) values[i] = sign * mantissa * 2 ** -24;
    else if (exponent === 31) values[i] = mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
    else values[i] = sign * (1024 + mantissa) * 2 ** (exponent - 25);
  }
  return values;
}
