// A recording's container: blocks with checksums around frames of the wire (docs/recordings.md). The counterpart
// of session/recording.py; whatever the bytes, the only error is a DecodeError.
import { crc32 } from "../protocol/crc32";
import { DecodeError } from "../protocol/errors";
import { MAX_FRAME_BYTES } from "../protocol/unpack";

/** `\x89LLR\r\n\x1a\n`: no text file begins so, and a transfer that changes line ends shows here. */
export const MAGIC = Uint8Array.of(0x89, 0x4c, 0x4c, 0x52, 0x0d, 0x0a, 0x1a, 0x0a);
export const BLOCK_HEADER_BYTES = 12;
const CONTAINER_MAJOR = 1;
const MAX_JSON_BYTES = 64 * 1024;

export interface Container {
  /** What is whole, in order: hello, run_joined, steps. Views into the file. */
  frames: Uint8Array[];
  /** Why the recording is not all of the run; none where it is. */
  note: string | null;
  /** In sentences: what is damaged or missing. */
  problems: string[];
}

interface Block {
  kind: string;
  body: Uint8Array;
  /** Its checksum is right. */
  is_whole: boolean;
  next: number;
}

/** Every whole block of `file`; raises DecodeError where not even its beginning can be read. */
export function read_container(file: Uint8Array): Container {
  if (!MAGIC.every((byte, i) => file[i] === byte)) {
    throw new DecodeError("bad_frame", "This is not a livelens recording: it begins otherwise.");
  }
  const [frames, problems]: [Uint8Array[], string[]] = [[], []];
  let at = MAGIC.length;
  let has_head = false;
  while (at < file.length) {
    const block = block_at(file, at);
    if (typeof block === "string") {
      problems.push(block);
      break;
    }
    if (!block.is_whole) problems.push(`The block at byte ${at} is damaged: its checksum differs.`);
    else if (block.kind === "HEAD") has_head = check_head(block.body);
    else if (block.kind === "FRAM") frames.push(block.body);
    else if (block.kind === "DONE") {
      require_head(has_head);
      const end = read_end(block.body, file, at, block.next);
      return { frames, note: end.note, problems: [...problems, ...end.problems] };
    }
    at = block.next;
  }
  require_head(has_head);
  if (problems.length === 0) problems.push("The file ends in the middle: it was not written to its end.");
  return { frames, note: null, problems };
}

function require_head(has_head: boolean): void {
  if (!has_head) throw new DecodeError("bad_frame", "The recording's beginning is damaged.");
}

/** The block at a byte, or why neither it nor what follows can be found. */
function block_at(file: Uint8Array, at: number): Block | string {
  const cut = "The file ends in the middle of a block: it was not written to its end.";
  const begin = at + BLOCK_HEADER_BYTES;
  if (begin > file.length) return cut;
  const view = new DataView(file.buffer, file.byteOffset + at, BLOCK_HEADER_BYTES);
  const size = view.getUint32(4, true);
  if (size > MAX_FRAME_BYTES) return `The block at byte ${at} is damaged, and what follows cannot be found.`;
  if (begin + size > file.length) return cut;
  const body = file.subarray(begin, begin + size);
  const is_whole = crc32(body, crc32(file.subarray(at, at + 8))) === view.getUint32(8, true);
  return { kind: String.fromCharCode(...file.subarray(at, at + 4)), body, is_whole, next: begin + size };
}

function json_of(body: Uint8Array, what: string): Record<string, unknown> {
  const damaged = (): DecodeError => new DecodeError("bad_message", `The recording's ${what} cannot be read.`);
  if (body.length > MAX_JSON_BYTES) throw damaged();
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
    if (typeof value !== "object" || value === null || Array.isArray(value)) throw damaged();
    return value as Record<string, unknown>;
  } catch {
    throw damaged();
  }
}

function check_head(body: Uint8Array): boolean {
  const version = json_of(body, "head").container_version;
  const major: unknown = Array.isArray(version) ? version[0] : undefined;
  if (major !== CONTAINER_MAJOR) {
    const named = Array.isArray(version) ? version.slice(0, 2).map(String).join(".") : "unknown";
    throw new DecodeError("bad_message", `This is a recording of version ${named}; this page reads version 1.`);
  }
  return true;
}

function read_end(body: Uint8Array, file: Uint8Array, start: number, next: number): { note: string | null; problems: string[] } {
  const end = json_of(body, "end");
  const problems: string[] = [];
  if (end.size_bytes !== start || end.crc32 !== crc32(file.subarray(0, start))) {
    problems.push("The whole file's checksum differs: blocks are missing or changed.");
  }
  if (next !== file.length) problems.push(`${file.length - next} bytes follow the recording's end.`);
  return { note: typeof end.note === "string" ? end.note : null, problems };
}

/** The block that ends a recording of these parts. */
export function end_block(parts: readonly Uint8Array[], n_steps: number, note: string | null): Uint8Array<ArrayBuffer> {
  let crc = 0;
  let size_bytes = 0;
  for (const part of parts) {
    crc = crc32(part, crc);
    size_bytes += part.length;
  }
  const body = new TextEncoder().encode(JSON.stringify({ n_steps, size_bytes, crc32: crc, note }));
  const block = new Uint8Array(BLOCK_HEADER_BYTES + body.length);
  const view = new DataView(block.buffer);
  block.set(new TextEncoder().encode("DONE"));
  view.setUint32(4, body.length, true);
  view.setUint32(8, crc32(body, crc32(block.subarray(0, 8))), true);
  block.set(body, BLOCK_HEADER_BYTES);
  return block;
}

/** How many positions a part of a recording holds: its frames, but for hello and run_joined of the first. */
export function n_steps_in(part: Uint8Array): number {
  const is_first = MAGIC.every((byte, i) => part[i] === byte);
  let n_frames = is_first ? -2 : 0;
  for (let at = is_first ? MAGIC.length : 0; at < part.length; ) {
    const block = block_at(part, at);
    if (typeof block === "string") throw new DecodeError("bad_frame", block);
    if (block.kind === "FRAM") n_frames += 1;
    at = block.next;
  }
  return n_frames;
}
