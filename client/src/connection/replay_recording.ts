// A recording decoded: every position's arrays, checked against the model that the file names before anything
// draws them. What does not fit is left out and said.
import { Decoder, type DecodedStep } from "../protocol/decode";
import { DecodeError } from "../protocol/errors";
import type { Hello, ModelInfo, RunSnapshot } from "../protocol/generated";
import { has_component } from "../store/query";
import { step_problem } from "./replay_checks";
import { read_container } from "./replay_file";

export interface Recording {
  name: string;
  hello: Hello;
  snapshot: RunSnapshot;
  /** Ascending by position. */
  steps: DecodedStep[];
  note: string | null;
  problems: string[];
}

export interface ReadOptions {
  on_progress?: (share: number) => void;
  /** Lets the page live between two slices of work. */
  pause?: () => Promise<void>;
}

export const MAX_RECORDING_BYTES = 1024 * 1024 * 1024;
/** Arrays held of one recording, unpacked. */
const MAX_ARRAY_BYTES = 1536 * 1024 * 1024;
const MAX_COMPONENTS = 16 * 1024 * 1024;
const MAX_PROBLEMS = 50;
const SLICE_MS = 24;

/** Read a recording; rejects with DecodeError, and nothing else, on any bytes. */
export async function read_recording(file: Uint8Array, name: string, options: ReadOptions = {}): Promise<Recording> {
  if (file.length > MAX_RECORDING_BYTES) {
    const sizes = `A recording may have ${MAX_RECORDING_BYTES} bytes, this has ${file.length}.`;
    throw new DecodeError("frame_too_large", sizes);
  }
  const container = read_container(file);
  const decoder = new Decoder();
  const { hello, snapshot } = opening(decoder, container.frames);
  const { note, problems } = container;
  const recording: Recording = { name, hello, snapshot, steps: [], note, problems: [...problems] };
  const frames = container.frames.slice(2);
  let array_bytes = 0;
  let slice_from = performance.now();
  for (const [i, frame] of frames.entries()) {
    array_bytes += take_step(recording, decoder, frame);
    if (array_bytes > MAX_ARRAY_BYTES) {
      tell(recording, "The recording is too large to show here: its later positions are left out.");
      break;
    }
    if (options.pause && performance.now() - slice_from > SLICE_MS) {
      options.on_progress?.((i + 1) / frames.length);
      await options.pause();
      slice_from = performance.now();
    }
  }
  return recording;
}

function tell(recording: Recording, problem: string): void {
  if (recording.problems.length < MAX_PROBLEMS) recording.problems.push(problem);
}

function opening(decoder: Decoder, frames: readonly Uint8Array[]): { hello: Hello; snapshot: RunSnapshot } {
  const damaged = "The recording's beginning is damaged: model or run is missing.";
  const [first, second] = frames;
  if (!first || !second) throw new DecodeError("bad_message", damaged);
  const hello = decoder.decode(first);
  const joined = decoder.decode(second);
  if (hello.type !== "hello" || joined.type !== "run_joined") throw new DecodeError("bad_message", damaged);
  check_model(hello.model_info);
  check_run(joined.run, hello.model_info);
  return { hello, snapshot: joined.run };
}

function check_model(info: ModelInfo): void {
  const fits = info.n_layers >= 1 && info.n_layers <= 1024 && info.n_heads >= 1 && info.n_heads <= 4096
    && info.d_mlp >= 1 && info.n_layers * (info.d_mlp + info.n_heads) <= MAX_COMPONENTS;
  if (!fits) {
    const shape = `${info.n_layers} layers, ${info.n_heads} heads, ${info.d_mlp} neurons`;
    throw new DecodeError("bad_message", `The recording names a model that cannot be drawn: ${shape}.`);
  }
}

function check_run(run: RunSnapshot, info: ModelInfo): void {
  const specs = run.intervention_log.flatMap((applied) => applied.interventions);
  const fits = specs.every(({ components, stream }) =>
    components.every((part) => has_component(info, part)) && (stream ?? []).every(({ layer }) => layer < info.n_layers));
  if (!fits) throw new DecodeError("bad_message", "The recording's interventions do not fit its model.");
  if (run.n_prompt_tokens < 1 || run.n_prompt_tokens > run.tokens.length) {
    throw new DecodeError("bad_message", "The recording's prompt is not part of its text.");
  }
}

/** Add one position; returns the bytes of its arrays. */
function take_step(recording: Recording, decoder: Decoder, frame: Uint8Array): number {
  try {
    const event = decoder.decode(frame);
    const problem = event.type === "step" ? step_problem(event, recording.hello.model_info, recording.snapshot)
      : `A ${event.type} stands where a step should.`;
    const last = recording.steps.at(-1)?.pos ?? -1;
    if (problem !== null || event.type !== "step") tell(recording, problem ?? "");
    else if (event.pos <= last) tell(recording, `Position ${event.pos} comes after position ${last}.`);
    else {
      recording.steps.push(event);
      return Object.values(event.tensors).reduce((sum, tensor) => sum + tensor.values.byteLength, 0);
    }
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    tell(recording, `A position cannot be read: ${error.message}`);
  }
  return 0;
}
