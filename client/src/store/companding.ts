// Activations as int8 with one scale a layer: the square root of the share of the layer's largest, signed.
import { NONFINITE_INT8 } from "../protocol/generated";

/** The activation that a companded code of a layer with `scale` stands for; NaN for a non-finite one. */
export function expand_int8(code: number, scale: number): number {
  if (code === NONFINITE_INT8) return Number.NaN;
  const root = code / 127;
  return Math.sign(root) * root * root * scale;
}
