import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { read_safetensors, SafetensorsError, write_safetensors } from "./safetensors";

const VECTOR = new Float32Array([1, -2.5, 0, 3e-8]);

/** A file with `header` in front of 16 bytes of numbers. */
function file_with(header: string): Uint8Array {
  const text = new TextEncoder().encode(header);
  const file = new Uint8Array(8 + text.length + 16).fill(63, 8 + text.length);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(text, 8);
  return file;
}
const entry = (changes: object): string =>
  JSON.stringify({ direction: { dtype: "F32", shape: [4], data_offsets: [0, 16], ...changes } });

describe("a direction as safetensors", () => {
  it("comes back bit for bit, with what made it, wherever it lies in memory", () => {
    const file = write_safetensors(VECTOR, { name: "joy", recipe: "{}" });
    expect((8 + Number(new DataView(file.buffer).getBigUint64(0, true))) % 8).toBe(0);
    const shifted = new Uint8Array(file.length + 3);
    shifted.set(file, 3);
    const { vector, notes } = read_safetensors(shifted.subarray(3));
    expect(vector).toEqual(VECTOR);
    expect(notes).toEqual({ name: "joy", recipe: "{}" });
  });

  it.each([
    ["nothing", new Uint8Array(3), /too short/],
    ["a header longer than the file", new Uint8Array(8).fill(255), /header does not fit/],
    ["no JSON", file_with("{"), /not JSON/],
    ["a list", file_with("[]"), /no object/],
    ["two tensors", file_with(`{"a":${entry({}).slice(13, -1)},"b":{}}`), /2 tensors/],
    ["float64", file_with(entry({ dtype: "F64" })), /not float32/],
    ["a matrix", file_with(entry({ shape: [2, 2] })), /no vector/],
    ["numbers beyond the end", file_with(entry({ data_offsets: [4, 20] })), /not all there/],
    ["a negative place", file_with(entry({ data_offsets: [-4, 12] })), /where its numbers/],
    ["a huge shape", file_with(entry({ shape: [1e15] })), /not all there/],
    ["no numbers", file_with(entry({ shape: [0], data_offsets: [0, 0] })), /not all there/],
    ["NaN", write_safetensors(new Float32Array([1, NaN]), {}), /not finite/],
    ["zeros", write_safetensors(new Float32Array(4), {}), /all of its numbers are zero/],
  ])("%s is refused in one sentence", (_, file, message) => {
    expect(() => read_safetensors(file)).toThrow(message);
    expect(() => read_safetensors(file)).toThrow(SafetensorsError);
  });

  it("damaged anywhere, it is read or refused, and never anything else", () => {
    const whole = write_safetensors(VECTOR, { name: "joy" });
    fc.assert(fc.property(fc.array(fc.tuple(fc.nat(whole.length - 1), fc.nat(255)), { maxLength: 4 }), fc.nat(whole.length), (changes, length) => {
      const file = whole.slice(0, length);
      for (const [at, byte] of changes) if (at < length) file[at] = byte;
      try {
        expect(read_safetensors(file).vector.every(Number.isFinite)).toBe(true);
      } catch (error) {
        expect(error).toBeInstanceOf(SafetensorsError);
      }
    }), { numRuns: 300 });
  });
});
