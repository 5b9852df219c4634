export type DecodeErrorCode = "bad_frame" | "frame_too_large" | "bad_message" | "bad_tensor";

/** Bytes that are not an event of this protocol. The only error that decoding raises, whatever the bytes. */
export class DecodeError extends Error {
  override readonly name = "DecodeError";
  constructor(
    readonly code: DecodeErrorCode,
    message: string,
  ) {
    super(message);
  }
}
