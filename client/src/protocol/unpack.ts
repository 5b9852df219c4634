// A frame's body: unpacked within a limit, walked before it is decoded, so that no header can claim more
// memory than its bytes account for.
import { decode, DecodeError as MsgpackError } from "@msgpack/msgpack";
import { decompress } from "fzstd";
import { DecodeError } from "./errors";
import { FRAME_PLAIN, FRAME_ZSTD } from "./generated";

export const MAX_FRAME_BYTES = 64 * 1024 * 1024;
const MAX_DEPTH = 16;
const ZSTD_MAGIC = 0xfd2fb528;

/** The untyped message in a frame; raises DecodeError, and nothing else, on any bytes. */
export function unpack(frame: Uint8Array): unknown {
  if (frame.length === 0) throw new DecodeError("bad_frame", "the frame is empty");
  if (frame.length > MAX_FRAME_BYTES) {
    throw new DecodeError("frame_too_large", `a frame may have ${MAX_FRAME_BYTES} bytes, got ${frame.length}`);
  }
  const body = frame.subarray(1);
  if (frame[0] === FRAME_PLAIN) return decode_msgpack(body);
  if (frame[0] === FRAME_ZSTD) return decode_msgpack(decompress_zstd(body));
  throw new DecodeError("bad_frame", `unknown packing ${frame[0]}; this page knows 0 (msgpack) and 1 (zstd)`);
}

function decompress_zstd(body: Uint8Array): Uint8Array {
  const size = zstd_content_size(body);
  if (size > MAX_FRAME_BYTES) {
    throw new DecodeError("frame_too_large", `the frame unpacks to ${size} bytes; the limit is ${MAX_FRAME_BYTES}`);
  }
  try {
    return decompress(body, new Uint8Array(size));
  } catch (error) {
    throw new DecodeError("bad_frame", `the frame's zstd body is damaged: ${message_of(error)}`);
  }
}

/** The content size that a zstd frame's header declares (RFC 8878, 3.1.1.1); raises where it declares none. */
function zstd_content_size(body: Uint8Array): number {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  if (body.length < 9 || view.getUint32(0, true) !== ZSTD_MAGIC) {
    throw new DecodeError("bad_frame", "the frame's zstd body is damaged: no zstd header");
  }
  const flags = body[4]!;
  const single_segment = (flags >> 5) & 1;
  const size_flag = flags >> 6;
  const at = 5 + (single_segment ? 0 : 1) + [0, 1, 2, 4][flags & 3]!;
  const size_bytes = size_flag ? 1 << size_flag : single_segment;
  if (size_bytes === 0) throw new DecodeError("bad_frame", "the frame does not declare its unpacked size");
  if (at + size_bytes > body.length) throw new DecodeError("bad_frame", "the frame's zstd header is cut off");
  if (size_bytes === 1) return body[at]!;
  if (size_bytes === 2) return view.getUint16(at, true) + 256;
  if (size_bytes === 4) return view.getUint32(at, true);
  return Number(view.getBigUint64(at, true));
}

function decode_msgpack(body: Uint8Array): unknown {
  walk_msgpack(body);
  try {
    return decode(body, { maxExtLength: 0, maxMapLength: 256, keyDecoder: null });
  } catch (error) {
    if (error instanceof MsgpackError || error instanceof RangeError || error instanceof TypeError) {
      throw new DecodeError("bad_frame", `not msgpack: ${message_of(error)}`);
    }
    throw error;
  }
}

/**
 * Raise unless `body` is exactly one msgpack value, no deeper than MAX_DEPTH, with nothing cut off and
 * no extension types. Every declared element takes a byte at least, so after this walk no allocation of
 * the decoder can exceed a small multiple of the body.
 */
function walk_msgpack(body: Uint8Array): void {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const left: number[] = [];
  let values_left = 1;
  let at = 0;
  for (;;) {
    while (values_left === 0) {
      const outer = left.pop();
      if (outer === undefined) {
        if (at !== body.length) throw new DecodeError("bad_frame", `${body.length - at} bytes follow the message`);
        return;
      }
      values_left = outer;
    }
    values_left -= 1;
    const header = header_at(view, at);
    at += header.size;
    if (at > body.length) throw new DecodeError("bad_frame", "the message is cut off");
    if (header.children > 0) {
      if (header.children > body.length - at) throw new DecodeError("bad_frame", "the message is cut off");
      if (left.push(values_left) > MAX_DEPTH) throw new DecodeError("bad_frame", "the message nests too deep");
      values_left = header.children;
    }
  }
}

const leaf = (size: number): { size: number; children: number } => ({ size, children: 0 });

/** Bytes of the value at `at` without its children, and how many children follow. */
function header_at(view: DataView, at: number): { size: number; children: number } {
  const code = byte_at(view, at);
  if (code <= 0x7f || code >= 0xe0) return leaf(1);
  if (code <= 0x8f) return { size: 1, children: 2 * (code & 0x0f) };
  if (code <= 0x9f) return { size: 1, children: code & 0x0f };
  if (code <= 0xbf) return leaf(1 + (code & 0x1f));
  switch (code) {
    case 0xc0: case 0xc2: case 0xc3:
      return leaf(1);
    case 0xc4: case 0xd9:
      return leaf(2 + byte_at(view, at + 1));
    case 0xc5: case 0xda:
      return leaf(3 + uint_at(view, at + 1, 2));
    case 0xc6: case 0xdb:
      return leaf(5 + uint_at(view, at + 1, 4));
    case 0xcc: case 0xd0:
      return leaf(2);
    case 0xcd: case 0xd1:
      return leaf(3);
    case 0xca: case 0xce: case 0xd2:
      return leaf(5);
    case 0xcb: case 0xcf: case 0xd3:
      return leaf(9);
    case 0xdc:
      return { size: 3, children: uint_at(view, at + 1, 2) };
    case 0xdd:
      return { size: 5, children: uint_at(view, at + 1, 4) };
    case 0xde:
      return { size: 3, children: 2 * uint_at(view, at + 1, 2) };
    case 0xdf:
      return { size: 5, children: 2 * uint_at(view, at + 1, 4) };
    default:
      throw new DecodeError("bad_frame", `msgpack code 0x${code.toString(16)} is not used by this protocol`);
  }
}

function byte_at(view: DataView, at: number): number {
  return uint_at(view, at, 1);
}

function uint_at(view: DataView, at: number, bytes: 1 | 2 | 4): number {
  if (at + bytes > view.byteLength) throw new DecodeError("bad_frame", "the message is cut off");
  if (bytes === 1) return view.getUint8(at);
  return bytes === 2 ? view.getUint16(at) : view.getUint32(at);
}

function message_of(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
