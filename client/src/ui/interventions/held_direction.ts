// A direction of the residual stream as this page holds it: what the server says of it, and its numbers.
import type { DirectionInfo } from "../../protocol/generated";

export interface HeldDirection {
  info: DirectionInfo;
  /** float32 [d_model]. */
  vector: Float32Array;
  /** Of a contrast: by layer, how far held-out prompts lie apart, and the share of them on their own side. */
  separation: Float32Array | null;
  accuracy: Float32Array | null;
}
