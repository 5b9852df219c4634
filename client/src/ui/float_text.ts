// Numbers inside a JSON file or this browser's storage: float32 little-endian, base64.

export function floats_text(vector: Float32Array): string {
  const bytes = new Uint8Array(vector.buffer, vector.byteOffset, vector.byteLength);
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

/** The numbers in `text`; null where it holds none, one that is not finite, or nothing but zeros. */
export function text_floats(text: string): Float32Array | null {
  let binary: string;
  try {
    binary = atob(text);
  } catch {
    return null;
  }
  if (binary.length === 0 || binary.length % 4 !== 0) return null;
  const vector = new Float32Array(Uint8Array.from(binary, (char) => char.charCodeAt(0)).buffer);
  return vector.every(Number.isFinite) && vector.some((number) => number !== 0) ? vector : null;
}

export const length_of = (vector: Float32Array): number => Math.sqrt(vector.reduce((sum, number) => sum + number * number, 0));
