// Vectors in the safetensors layout: 8 bytes of header length, a JSON header, raw numbers. Read as if a stranger had
// written it.
const MAX_HEADER_BYTES = 1_000_000;
const NAME = "direction";

export class SafetensorsError extends Error {
  override readonly name = "SafetensorsError";
}

/** Notes about the vector: safetensors allows text by name. */
export type Notes = Record<string, string>;

/** The file of `vector`, float32 little-endian, with `notes` as its metadata. */
export function write_safetensors(vector: Float32Array, notes: Notes): Uint8Array<ArrayBuffer> {
  return write_vectors({ [NAME]: vector }, notes);
}

/** The file of several vectors by name, one behind the other. */
export function write_vectors(vectors: Readonly<Record<string, Float32Array>>, notes: Notes): Uint8Array<ArrayBuffer> {
  const entries: Record<string, unknown> = {};
  let n_bytes = 0;
  for (const [name, { length }] of Object.entries(vectors)) {
    entries[name] = { dtype: "F32", shape: [length], data_offsets: [n_bytes, n_bytes + 4 * length] };
    n_bytes += 4 * length;
  }
  let json = JSON.stringify({ __metadata__: notes, ...entries });
  const bytes_of = (text: string): Uint8Array => new TextEncoder().encode(text);
  while (bytes_of(json).length % 8 !== 0) json += " "; // the numbers begin on a multiple of eight
  const header = bytes_of(json);
  const file = new Uint8Array(8 + header.length + n_bytes);
  const view = new DataView(file.buffer);
  view.setBigUint64(0, BigInt(header.length), true);
  file.set(header, 8);
  let at = 8 + header.length;
  for (const vector of Object.values(vectors)) for (const value of vector) view.setFloat32((at += 4) - 4, value, true);
  return file;
}

/** The one vector in `file` and its notes; raises SafetensorsError, and nothing else, on any bytes. */
export function read_safetensors(file: Uint8Array): { vector: Float32Array; notes: Notes } {
  const { vectors, notes } = read_vectors(file, "direction", 1);
  return { vector: Object.values(vectors)[0]!, notes };
}

/** The `n` vectors in `file` by name and its notes; `what` they are, for the sentence of a SafetensorsError. */
export function read_vectors(file: Uint8Array, what: string, n: number): { vectors: Record<string, Float32Array>; notes: Notes } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < 8) throw damaged("it is too short", what);
  const declared = view.getBigUint64(0, true);
  if (declared > BigInt(Math.min(MAX_HEADER_BYTES, file.length - 8))) throw damaged("its header does not fit into it", what);
  const begin = 8 + Number(declared);
  const header = read_header(file.subarray(8, begin), what);
  const n_held = Object.keys(header).filter((name) => name !== "__metadata__").length;
  if (n_held !== n) throw damaged(`it holds ${n_held} tensors, and ${n === 1 ? "one is" : `${n} are`} needed`, what);
  const vectors: Record<string, Float32Array> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const [from, to] = read_place(entry, file.length - begin, what);
    const vector = Float32Array.from({ length: (to - from) / 4 }, (_, i) => view.getFloat32(begin + from + 4 * i, true));
    if (!vector.every(Number.isFinite)) throw damaged("it holds numbers that are not finite", what);
    if (vector.every((value) => value === 0)) throw damaged("all of its numbers are zero", what);
    vectors[name] = vector;
  }
  return { vectors, notes: read_notes(header["__metadata__"]) };
}

function damaged(reason: string, what: string): SafetensorsError {
  return new SafetensorsError(`This cannot be opened as ${/^[aeiou]/.test(what) ? "an" : "a"} ${what}: ${reason}.`);
}

function read_header(bytes: Uint8Array, what: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw damaged("its header is not JSON, so it is no safetensors file", what);
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw damaged("its header is no object", what);
  return value as Record<string, unknown>;
}

/** Where the float32 numbers of a vector lie behind the header, bytes. */
function read_place(value: unknown, n_bytes: number, what: string): [number, number] {
  const entry = (typeof value === "object" && value !== null ? value : {}) as Record<string, unknown>;
  const { dtype, shape, data_offsets } = entry;
  if (dtype !== "F32") throw damaged("its numbers are not float32 (F32)", what);
  const counts = (list: unknown, n: number): list is number[] =>
    Array.isArray(list) && list.length === n && list.every((count) => Number.isInteger(count) && count >= 0);
  if (!counts(shape, 1)) throw damaged("its tensor is no vector", what);
  if (!counts(data_offsets, 2)) throw damaged("it does not say where its numbers are", what);
  const [from, to] = data_offsets as [number, number];
  if (to > n_bytes || to - from !== 4 * shape[0]! || shape[0] === 0) throw damaged("its numbers are not all there", what);
  return [from, to];
}

function read_notes(value: unknown): Notes {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return {};
  return Object.fromEntries(Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}
