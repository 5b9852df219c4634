// A recording read, replayed and damaged in every way: one typed error, or what is whole of it.
import { describe, expect, it } from "vitest";
import golden from "../../../shared_schema/fixtures/recording/checksums.json";
import { crc32 } from "../protocol/crc32";
import { DecodeError } from "../protocol/errors";
import { CAUSAL_KINDS, type Command } from "../protocol/generated";
import { NO_MODEL } from "../store/replay";
import { create_store, type Store } from "../store/store";
import { Connection } from "./connection";
import { step } from "./fake_source";
import { step_problem } from "./replay_checks";
import { BLOCK_HEADER_BYTES, end_block, MAGIC, n_steps_in, read_container } from "./replay_file";
import { PageSource } from "./replay_page";
import { read_recording, type Recording } from "./replay_recording";
import { ReplaySource } from "./replay_source";

const FILES = import.meta.glob<string>("../../../shared_schema/fixtures/recording/*.bin", {
  query: "?inline", import: "default", eager: true,
});
const [inlined = ""] = Object.values(FILES);
const FILE = Uint8Array.from(atob(inlined.slice(inlined.indexOf(",") + 1)), (char) => char.charCodeAt(0));

const read = (file: Uint8Array): Promise<Recording> => read_recording(file, "run.livelens");

/** A block around `body` with a right checksum. */
function block(kind: string, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(BLOCK_HEADER_BYTES + body.length);
  const view = new DataView(bytes.buffer);
  bytes.set(new TextEncoder().encode(kind));
  view.setUint32(4, body.length, true);
  view.setUint32(8, crc32(body, crc32(bytes.subarray(0, 8))), true);
  bytes.set(body, BLOCK_HEADER_BYTES);
  return bytes;
}

function joined(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

const HEAD = FILE.slice(0, MAGIC.length + BLOCK_HEADER_BYTES
  + new DataView(FILE.buffer).getUint32(MAGIC.length + 4, true));

describe("a recording", () => {
  it("holds the arrays that Python wrote", async () => {
    const recording = await read(FILE);
    expect(recording.problems).toEqual([]);
    expect(recording.note).toBeNull();
    expect(recording.snapshot.text).toBe(golden.text);
    const found = recording.steps.flatMap((step) => Object.entries(step.tensors).map(([name, { values }]) =>
      [`${step.pos} ${name}`, crc32(new Uint8Array(values.buffer, values.byteOffset, values.byteLength))] as const));
    expect(Object.fromEntries(found)).toEqual(golden.checksums);
  });

  it("is put together from parts as Python does", async () => {
    const { frames } = read_container(FILE);
    const first = joined(HEAD, ...frames.slice(0, 5).map((frame) => block("FRAM", frame)));
    const second = joined(...frames.slice(5).map((frame) => block("FRAM", frame)));
    expect([n_steps_in(first), n_steps_in(second)]).toEqual([3, frames.length - 5]);
    const file = joined(first, second, end_block([first, second], frames.length - 2, "a note"));
    const recording = await read(file);
    expect(recording.problems).toEqual([]);
    expect(recording.note).toBe("a note");
    expect(recording.steps.length).toBe(frames.length - 2);
  });

  it("cut off anywhere shows what is whole, and says so", async () => {
    const whole = (await read(FILE)).steps.length;
    const seen = new Set<number>();
    for (let size = 0; size < FILE.length; size += 61) {
      const recording = await read(FILE.slice(0, size)).catch((error: unknown) => error);
      if (recording instanceof DecodeError) continue;
      expect((recording as Recording).problems.length).toBeGreaterThan(0);
      seen.add((recording as Recording).steps.length);
    }
    expect(seen).toEqual(new Set(Array.from({ length: whole + 1 }, (_, n) => n)));
  });

  it("of a later minor version is read past its unknown blocks; of a later major it is refused", async () => {
    const { frames } = read_container(FILE);
    const blocks = frames.map((frame) => block("FRAM", frame));
    const later = joined(HEAD, block("NEXT", new Uint8Array(9)), ...blocks);
    expect((await read(later)).steps.length).toBe(frames.length - 2);
    const head = new TextEncoder().encode('{"container_version":[2,0]}');
    await expect(read(joined(MAGIC, block("HEAD", head), ...blocks))).rejects.toThrow("version 2.0");
  });
});

describe("a recorded step", () => {
  const tensors = (layer: number, kind: number, index: number): ReturnType<typeof step>["tensors"] => {
    const one = (value: number) => ({ shape: [1], values: Int32Array.of(value) });
    const amount = { shape: [1], values: Float32Array.of(0.5) };
    return {
      direct_neuron_layer: one(layer), direct_neuron_index: one(0), direct_neuron_value: amount,
      causal_kind: one(kind), causal_layer: one(0), causal_index: one(index),
      causal_attributed: amount, causal_measured: amount,
    };
  };

  it("names components that its model has, and no others", async () => {
    const { hello: { model_info: info }, snapshot: run } = await read(FILE);
    const problem = (layer: number, kind: number, index: number): string | null =>
      step_problem(step(1, { run_id: run.run_id, base_seq: -1, tensors: tensors(layer, kind, index) }), info, run);
    const head = CAUSAL_KINDS.indexOf("head");
    expect(problem(0, head, 0)).toBeNull();
    for (const [layer, index] of [[-1, 0], [info.n_layers, 0], [0, -1], [0, info.n_heads]] as const) {
      expect(problem(layer, head, index)).toContain("do not exist");
    }
  });
});

describe("damaged recordings", () => {
  let seed = 12345;
  const random = (below: number): number => {
    seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
    return (seed >>> 8) % below;
  };
  const scrambled = (bytes: Uint8Array, times: number): Uint8Array => {
    const copy = bytes.slice();
    for (let i = 0; i < times; i++) copy[random(copy.length)] = random(256);
    return copy;
  };

  /** The file with one frame changed, and its checksum made right again. */
  function with_hostile_frame(): Uint8Array {
    const { frames } = read_container(FILE);
    const at = random(frames.length);
    return joined(HEAD, ...frames.map((frame, i) => block("FRAM", i === at ? scrambled(frame, 1 + random(30)) : frame)));
  }

  const WAYS: (() => Uint8Array)[] = [
    () => scrambled(FILE, 1 + random(40)),
    () => FILE.slice(0, random(FILE.length)),
    () => joined(FILE.slice(0, random(FILE.length)), FILE.slice(random(FILE.length))),
    () => joined(MAGIC, scrambled(new Uint8Array(600), 600)),
    with_hostile_frame,
  ];

  it("200 of them give one typed error, or a recording whose steps fit its model", async () => {
    let [n_refused, n_opened] = [0, 0];
    for (let i = 0; i < 200; i++) {
      const file = WAYS[i % WAYS.length]!();
      try {
        const { hello, steps } = await read(file);
        n_opened++;
        for (const step of steps) {
          const { n_layers, d_mlp } = hello.model_info;
          if (step.tensors.neurons) expect(step.tensors.neurons.values.length).toBe(n_layers * d_mlp);
        }
      } catch (error) {
        expect(error).toBeInstanceOf(DecodeError);
        n_refused++;
      }
    }
    expect(n_refused).toBeGreaterThan(20);
    expect(n_opened).toBeGreaterThan(20);
  });
});

interface ReplayUnderTest {
  store: Store;
  source: ReplaySource;
  frame: () => void;
  timers: { ms: number; callback: () => void }[];
  connection: Connection;
}

async function replaying(change: (recording: Recording) => void = () => undefined): Promise<ReplayUnderTest> {
  const recording = await read(FILE);
  change(recording);
  const timers: { ms: number; callback: () => void }[] = [];
  const source = new ReplaySource(recording, FILE, (ms, callback) => {
    const timer = { ms, callback };
    timers.push(timer);
    return () => void timers.splice(timers.indexOf(timer), timers.includes(timer) ? 1 : 0);
  });
  const store = create_store();
  const frames: (() => void)[] = [];
  const connection = new Connection(store, {
    open_source: () => source,
    run_link: { read: () => source.run_id, write: () => undefined, on_change: () => undefined },
    next_frame: (callback) => frames.push(callback),
    is_hidden: () => false,
    probe: () => Promise.resolve(null),
  });
  store.replay.value = source;
  connection.start();
  await Promise.resolve();
  const frame = (): void => {
    while (frames.length > 0) frames.splice(0).forEach((callback) => callback());
  };
  frame();
  return { store, source, frame, timers, connection };
}

describe("replaying", () => {
  it("shows the whole run at once, able to do nothing", async () => {
    const { store, source, connection } = await replaying();
    expect(store.history.size).toBe(source.n_steps);
    expect(store.run.value).toMatchObject({ state: "finished", text: golden.text, finish_reason: "max_new_tokens" });
    expect(store.model_info.value?.capabilities).toMatchObject({ operations: [], component_kinds: [], analyses: [] });
    expect(store.model_info.value?.capabilities.missing_analyses[0]?.reason).toBe(NO_MODEL);
    await expect(connection.set_interventions([], { mode: "from_now", restart: false })).rejects.toThrow(NO_MODEL);
    connection.close();
  });

  it("goes back and forth by its time line", async () => {
    const { store, source, frame, connection } = await replaying();
    const tokens = store.tokens.value.map((chip) => chip.token_id);
    for (const n_steps of [2, 7, 5, 1, source.n_steps, 0]) {
      source.seek(n_steps);
      frame();
      expect(store.history.size).toBe(n_steps);
      expect(store.tokens.value.length).toBe(Math.max(golden.n_prompt_tokens, n_steps + 1));
      expect(store.tokens.value.map((chip) => chip.token_id)).toEqual(tokens.slice(0, store.tokens.value.length));
      expect(golden.text.startsWith(store.run.value!.text)).toBe(true);
      expect(store.run.value!.state).toBe(n_steps === source.n_steps ? "finished" : "paused");
    }
    connection.close();
  });

  it("plays at the run's own pace, times its speed, with long pauses shortened", async () => {
    const { store, source, frame, timers, connection } = await replaying((recording) => {
      const first = recording.steps.findIndex((step) => step.generated);
      recording.steps.forEach((step, i) => (step.server_ns = i === first + 2 ? 1e12 : i * 50e6));
    });
    source.speed.value = 2;
    source.play();
    frame();
    expect(store.history.size).toBe(source.n_prompt_steps);
    expect(store.run.value!.state).toBe("running");
    const gaps: number[] = [];
    while (source.is_playing.value) {
      expect(timers.length).toBe(1);
      gaps.push(timers[0]!.ms);
      timers.splice(0, 1)[0]!.callback();
      frame();
    }
    expect(gaps.slice(0, 4)).toEqual([25, 25, 1000, 2.5]);
    expect(gaps.slice(4).every((ms) => ms === 25)).toBe(true);
    expect(store.history.size).toBe(source.n_steps);
    expect(store.run.value!.state).toBe("finished");
    connection.close();
  });

  it("tells each intervention where it takes hold", async () => {
    const spec = { intervention_id: "off", operation: "zero", components: [{ kind: "head", layer: 1, index: 0 }], amount: 0, enabled: true };
    const { store, source, frame, connection } = await replaying(({ snapshot }) => {
      const [start] = snapshot.intervention_log;
      snapshot.intervention_log = [start!, { ...start!, revision: 1, from_pos: 6, interventions: [{ ...start!.interventions[0], ...spec } as never] }];
    });
    for (const [n_steps, n_sets] of [[6, 0], [7, 1], [3, 0], [source.n_steps, 1]] as const) {
      source.seek(n_steps);
      frame();
      expect(store.interventions.value.length, `${n_steps}`).toBe(n_sets);
      expect(store.run.value!.intervention_log.length).toBe(n_sets + 1);
    }
    connection.close();
  });

  it("answers what needs no model and refuses the rest with the reason", async () => {
    const recording = await read(FILE);
    const source = new ReplaySource(recording, FILE);
    const said: string[] = [];
    source.open({
      opened: () => undefined, damaged: () => undefined, closed: () => undefined,
      event: (event) => said.push(event.type === "error_report" ? event.message : event.type),
    });
    source.send({ type: "ping", request_id: 1 });
    source.send({ type: "start_run", request_id: 2 } as Command);
    expect(said).toEqual(["hello", "pong", NO_MODEL]);
  });
});

it("a page's own run comes back when a recording is left", async () => {
  const store = create_store();
  const written: (string | null)[] = [];
  const page = new PageSource(store, () => { throw new Error("the live source is opened"); }, {
    read: () => "live-run", write: (run_id) => written.push(run_id), on_change: () => undefined,
  });
  const restarts: unknown[] = [];
  const connection = { restart: () => restarts.push(page.run_link.read()) } as unknown as Connection;
  await page.show(FILE, "run.livelens", connection);
  page.run_link.write("rec-1");
  page.leave(connection);
  expect(restarts[1]).toBe("live-run");
  expect(String(restarts[0])).toMatch(/^rec-/);
  expect(written).toEqual([]);
  expect(store.replay.value).toBeNull();
  expect(page.open).toThrow("live source");
});
