// A server's frame to a typed event. Runs in the worker; hostile bytes give one DecodeError and change
// nothing, a lost chain gives the step without the arrays that cannot be rebuilt.
import { EVENT_CHECKS, tensor_check } from "./event_checks";
import { text } from "./check";
import { DecodeError } from "./errors";
import {
  CHANNEL_TENSORS, type AttentionReady, type ComparedTensors, type Event, type Step, type Tensor, type ValuesReady,
} from "./generated";
import { reconstruct, to_host, type HostTensor, type RawTensor } from "./tensors";
import { unpack } from "./unpack";

export { DecodeError } from "./errors";
export type { HostTensor } from "./tensors";

export type TensorName = (typeof CHANNEL_TENSORS)[keyof typeof CHANNEL_TENSORS][number];
const TENSOR_NAMES: readonly TensorName[] = Object.values(CHANNEL_TENSORS).flat();
/** Steps whose exact bytes are held: the newest is what a difference is taken from, resent ones come between. */
const HELD_STEPS = 8;

export interface DecodedStep extends Omit<Step, "tensors"> {
  tensors: Partial<Record<TensorName, HostTensor>>;
  /** Arrays that could not be rebuilt; where there are any, a keyframe is needed. */
  lost: TensorName[];
}
/** One position's arrays by their names in a step. */
export type TensorMap = Partial<Record<TensorName, HostTensor>>;
type IsCompared<V> = [V] extends [ComparedTensors] ? ([ComparedTensors] extends [V] ? true : false) : false;
type Rebuilt<V> = Extract<V, Tensor> extends never
  ? IsCompared<V> extends true ? TensorMap : V
  : Exclude<V, Tensor> | HostTensor;
/** An event whose every field that is a tensor on the wire is a typed array of its own. */
export type Decoded<E> = E extends Event ? { [K in keyof E]: Rebuilt<E[K]> } : never;
export type DecodedValues = Decoded<ValuesReady>;
export type DecodedAttention = Decoded<AttentionReady>;
export type DecodedEvent = Decoded<Exclude<Event, Step>> | DecodedStep;

type RawTensors = Partial<Record<TensorName, RawTensor>>;

/** Decodes one connection's frames in order, holding what differences are taken from. */
export class Decoder {
  private run_id: string | null = null;
  private readonly held = new Map<number, RawTensors>();

  /** The event in `frame`; raises DecodeError, and nothing else, on any bytes. */
  decode(frame: Uint8Array): DecodedEvent {
    const message = unpack(frame);
    const type = text((message as { type?: unknown } | null)?.type, "type");
    const check = Object.hasOwn(EVENT_CHECKS, type) ? EVENT_CHECKS[type as Event["type"]] : undefined;
    if (!check) throw new DecodeError("bad_message", `this page does not know the event ${JSON.stringify(type)}`);
    const event = check(message, type);
    return event.type === "step" ? this.decode_step(event, message as { tensors?: unknown }) : rebuilt(event);
  }

  /** The exact bytes held for step `seq`, for tests. */
  raw(seq: number): RawTensors | undefined {
    return this.held.get(seq);
  }

  private decode_step(step: Step, message: { tensors?: unknown }): DecodedStep {
    if (step.run_id !== this.run_id) {
      this.run_id = step.run_id;
      this.held.clear();
    }
    const base = step.base_seq >= 0 ? this.held.get(step.base_seq) : undefined;
    const wire = (message.tensors ?? {}) as Record<string, unknown>;
    const raws: RawTensors = {};
    const tensors: DecodedStep["tensors"] = {};
    const lost: TensorName[] = [];
    for (const name of TENSOR_NAMES) {
      const value = Object.hasOwn(wire, name) ? wire[name] : undefined;
      if (value === undefined || value === null) continue;
      try {
        const raw = reconstruct(tensor_check(value, `step.tensors.${name}`), base?.[name]);
        raws[name] = raw;
        tensors[name] = to_host(raw);
      } catch (error) {
        if (!(error instanceof DecodeError)) throw error;
        lost.push(name);
      }
    }
    this.hold(step.seq, raws);
    return { ...step, tensors, lost };
  }

  private hold(seq: number, raws: RawTensors): void {
    const merged = { ...this.held.get(seq), ...raws };
    this.held.delete(seq);
    this.held.set(seq, merged);
    if (this.held.size <= HELD_STEPS) return;
    // The newest seq must stay even while many old positions are sent again.
    const newest = Math.max(...this.held.keys());
    for (const old of this.held.keys()) {
      if (old !== newest) {
        this.held.delete(old);
        break;
      }
    }
  }
}

function is_tensor(value: unknown): value is Tensor {
  return typeof value === "object" && value !== null && "crc32" in value;
}

function rebuilt<E extends Exclude<Event, Step>>(event: E): Decoded<E> {
  const fields = Object.entries(event).map(([name, value]: [string, unknown]) => [
    name, is_tensor(value) ? to_host(reconstruct(value, undefined)) : value,
  ]);
  if (event.type === "comparison_ready") {
    return { ...Object.fromEntries(fields), other: rebuilt_map(event.other), difference: rebuilt_map(event.difference) };
  }
  return Object.fromEntries(fields) as Decoded<E>;
}

function rebuilt_map(tensors: ComparedTensors): TensorMap {
  const there = Object.entries(tensors).filter((entry): entry is [TensorName, Tensor] => is_tensor(entry[1]));
  return Object.fromEntries(there.map(([name, tensor]) => [name, to_host(reconstruct(tensor, undefined))]));
}

function is_host(value: unknown): value is HostTensor {
  return typeof value === "object" && value !== null && "values" in value && ArrayBuffer.isView(value.values);
}

/** Buffers of `event` that can be given away to another thread. */
export function transferables(event: DecodedEvent): ArrayBuffer[] {
  const maps = event.type === "step" ? [event.tensors]
    : event.type === "comparison_ready" ? [event.other, event.difference] : [event];
  const fields: unknown[] = maps.flatMap((map) => Object.values(map));
  return fields.filter(is_host).map((host) => host.values.buffer as ArrayBuffer);
}
