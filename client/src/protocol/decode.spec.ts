import { encode } from "@msgpack/msgpack";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import golden_manifest from "../../../shared_schema/fixtures/manifest.json";
import { crc32 } from "./crc32";
import { DecodeError, Decoder, transferables, type DecodedEvent, type TensorName } from "./decode";
import { EVENT_CHECKS } from "./event_checks";
import { widen_float16, type HostTensor } from "./tensors";

const FRAMES = import.meta.glob<string>("../../../shared_schema/fixtures/*.bin", {
  query: "?inline", import: "default", eager: true,
});
const ITEM: Record<string, number> = { int8: 1, uint8: 1, uint16: 2, float16: 2, int32: 4, uint32: 4, float32: 4 };

interface GoldenTensor {
  dtype: string;
  shape: number[];
  hex: string;
}
interface Golden {
  chain: string;
  file: string;
  event: Record<string, unknown> & { type: string; seq?: number };
  tensors: Record<string, GoldenTensor>;
}
const manifest = golden_manifest as unknown as { frames: Golden[]; damaged: { file: string; note: string }[] };
function read(file: string): Uint8Array {
  const url = FRAMES[`../../../shared_schema/fixtures/${file}`];
  if (url === undefined) throw new Error(`no fixture ${file}`);
  return Uint8Array.from(atob(url.slice(url.indexOf(",") + 1)), (char) => char.charCodeAt(0));
}
const chain = (name: string): Golden[] => manifest.frames.filter((golden) => golden.chain === name);
const hex = (bytes: Uint8Array): string => [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const from_hex = (digits: string): Uint8Array =>
  Uint8Array.from(digits.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

/** `frame` at an odd address inside a larger buffer, as a reader of many frames would hand it over. */
function at_odd_offset(frame: Uint8Array): Uint8Array {
  const buffer = new Uint8Array(frame.length + 3);
  buffer.set(frame, 3);
  return buffer.subarray(3);
}

/** Bytes as the manifest has them, in base64. */
function as_json(event: DecodedEvent): object {
  return event.type === "recording_part" ? { ...event, data: btoa(String.fromCharCode(...event.data)) } : event;
}

/** The tensor at `name`; `other.neurons` lies a level deeper. */
function field_of(event: DecodedEvent, name: string): HostTensor {
  const at = (held: unknown, part: string): unknown => (held as Record<string, unknown>)[part];
  return name.split(".").reduce(at, event as unknown) as HostTensor;
}

function check_step(decoder: Decoder, golden: Golden, frame: Uint8Array): void {
  const event = decoder.decode(frame);
  if (event.type !== "step") throw new Error(`expected a step, got ${event.type}`);
  const { tensors, lost, ...plain } = event;
  expect(lost).toEqual([]);
  expect({ ...plain, tensors: {} }).toEqual(golden.event);
  expect(Object.keys(tensors).sort()).toEqual(Object.keys(golden.tensors).sort());
  for (const [name, want] of Object.entries(golden.tensors) as [TensorName, GoldenTensor][]) {
    const raw = decoder.raw(event.seq)?.[name];
    expect(raw && hex(raw.bytes), `${golden.file} ${name}`).toBe(want.hex);
    expect(raw?.dtype).toBe(want.dtype);
    const host = tensors[name]!;
    expect([...host.shape]).toEqual(want.shape);
    expect([...host.values]).toEqual(values_of(want));
  }
}

function values_of(want: GoldenTensor): number[] {
  const bytes = from_hex(want.hex);
  return Array.from({ length: bytes.length / ITEM[want.dtype]! }, (_, i) => value_at(bytes, want.dtype, i));
}

function value_at(bytes: Uint8Array, dtype: string, i: number): number {
  const view = new DataView(bytes.buffer);
  switch (dtype) {
    case "int8": return view.getInt8(i);
    case "uint8": return view.getUint8(i);
    case "uint16": return view.getUint16(2 * i, true);
    case "int32": return view.getInt32(4 * i, true);
    case "uint32": return view.getUint32(4 * i, true);
    case "float32": return view.getFloat32(4 * i, true);
    default: return half(view.getUint16(2 * i, true));
  }
}

/** binary16 read by moving its fields into binary32: another way than the decoder's. */
function half(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  const view = new DataView(new ArrayBuffer(4));
  if (exponent === 0) return (sign ? -1 : 1) * (mantissa / 1024) * 2 ** -14;
  view.setInt32(0, sign | ((exponent === 31 ? 255 : exponent + 112) << 23) | (mantissa << 13));
  return view.getFloat32(0);
}

describe("golden frames, written by the server's codec", () => {
  it.each([["aligned", (frame: Uint8Array) => frame], ["at an odd offset", at_odd_offset]])(
    "rebuild every tensor of a chain bit for bit, %s",
    (_, place) => {
      const decoder = new Decoder();
      const steps = chain("steps");
      expect(steps.length).toBeGreaterThanOrEqual(5);
      for (const golden of steps) check_step(decoder, golden, place(read(golden.file)));
    },
  );

  it("rebuild a long attention row", () => {
    for (const golden of chain("long_row")) check_step(new Decoder(), golden, read(golden.file));
  });

  it.each(chain("events").map((golden) => [golden.event.type, golden] as const))("decode %s", (_, golden) => {
    const event = new Decoder().decode(at_odd_offset(read(golden.file)));
    expect(as_json(event)).toMatchObject(golden.event);
    for (const [name, want] of Object.entries(golden.tensors)) {
      const host = field_of(event, name);
      expect(host.shape, name).toEqual(want.shape);
      expect([...host.values], name).toEqual(values_of(want));
    }
    expect(transferables(event).length).toBe(Object.keys(golden.tensors).length);
  });

  it("cover every kind of event", () => {
    expect(new Set(manifest.frames.map((golden) => golden.event.type))).toEqual(new Set(Object.keys(EVENT_CHECKS)));
  });
});

describe("a lost chain", () => {
  it("keeps the token and names the arrays that cannot be rebuilt, until a keyframe", () => {
    const [, second, , keyframe, after] = chain("steps");
    const decoder = new Decoder();
    const event = decoder.decode(read(second!.file));
    if (event.type !== "step") throw new Error(event.type);
    expect(event.token_id).toBe(second!.event["token_id"]);
    expect(event.lost.length).toBeGreaterThan(0);
    check_step(decoder, keyframe!, read(keyframe!.file));
    check_step(decoder, after!, read(after!.file));
  });

  it("is not made by an old position that is sent again in between", () => {
    const [first, second, third] = chain("steps");
    const decoder = new Decoder();
    for (const golden of [first!, second!, first!]) decoder.decode(read(golden.file));
    for (let i = 0; i < 20; i++) decoder.decode(keyframe_without_tensors(0));
    check_step(decoder, third!, read(third!.file));
  });

  it("is made by a step of another run", () => {
    const [first, second] = chain("steps");
    const decoder = new Decoder();
    decoder.decode(read(first!.file));
    decoder.decode(keyframe_without_tensors(0, "another-run"));
    const event = decoder.decode(read(second!.file));
    expect(event.type === "step" && event.lost.length).toBeGreaterThan(0);
  });
});

function keyframe_without_tensors(seq: number, run_id = "fixture-run"): Uint8Array {
  const body = encode({ ...chain("steps")[0]!.event, run_id, seq, tensors: {} });
  return Uint8Array.from([0, ...body]);
}

describe("damaged frames", () => {
  it.each(manifest.damaged.map(({ file, note }) => [note, file] as const))("%s", (_, file) => {
    let lost = 0;
    try {
      const event = new Decoder().decode(read(file));
      lost = event.type === "step" ? event.lost.length : 0;
    } catch (error) {
      expect(error).toBeInstanceOf(DecodeError);
      return;
    }
    expect(lost).toBeGreaterThan(0); // an array that does not fit: the step stays, the array is named
  });

  it("of 3,000 mutations none raises anything but DecodeError", () => {
    const frames = manifest.frames.map((golden) => read(golden.file));
    const mutation = fc.record({
      frame: fc.nat(frames.length - 1),
      edits: fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 8 }),
      cut: fc.option(fc.nat()),
    });
    fc.assert(
      fc.property(mutation, ({ frame, edits, cut }) => {
        const bytes = frames[frame]!.slice();
        for (const [at, value] of edits) bytes[at % bytes.length] = value;
        const damaged = cut === null ? bytes : bytes.subarray(0, cut % bytes.length);
        try {
          new Decoder().decode(damaged);
        } catch (error) {
          if (!(error instanceof DecodeError)) throw error;
        }
      }),
      { numRuns: 3000, seed: 7 },
    );
  });

  it("nested arrays cost no more memory than their bytes", () => {
    const bomb = new Uint8Array(60_000);
    for (let i = 1; i + 5 <= bomb.length; i += 5) bomb.set([0xdd, 0, 0, 0xc0, 0], i);
    expect(() => new Decoder().decode(bomb)).toThrow(DecodeError);
  });
});

describe("parts", () => {
  it("crc32 is zlib's", () => {
    expect(crc32(new TextEncoder().encode("123456789"))).toBe(0xcbf43926);
    expect(crc32(new Uint8Array())).toBe(0);
  });

  it("crc32 of any bytes equals the one-byte-at-a-time definition", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
        let crc = 0xffffffff;
        for (const byte of bytes) {
          crc ^= byte;
          for (let k = 0; k < 8; k++) crc = crc & 1 ? (crc >>> 1) ^ 0xedb88320 : crc >>> 1;
        }
        expect(crc32(bytes)).toBe((crc ^ 0xffffffff) >>> 0);
      }),
    );
  });

  it("every float16 bit pattern widens exactly", () => {
    const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const wide = widen_float16(all);
    for (let bits = 0; bits < 65536; bits++) if (!Object.is(wide[bits], half(bits)) && !Number.isNaN(half(bits))) {
      throw new Error(`0x${bits.toString(16)}: ${wide[bits]} is not ${half(bits)}`);
    }
  });

  it("a step's buffers can be given away while the next difference still finds its base", () => {
    const [first, second] = chain("steps");
    const decoder = new Decoder();
    const event = decoder.decode(read(first!.file));
    for (const buffer of transferables(event)) structuredClone(buffer, { transfer: [buffer] });
    check_step(decoder, second!, read(second!.file));
  });
});
