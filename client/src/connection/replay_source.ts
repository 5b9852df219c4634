// A recording as a source: says what the server said, at the run's own pace or at once, and back again. Nothing
// above knows that no server is there, but for the questions that only a model can answer.
import { signal, type Signal } from "@preact/signals";
import type { DecodedEvent } from "../protocol/decode";
import type { Command, Hello, InterventionsApplied, RunFinished, RunSnapshot } from "../protocol/generated";
import { NO_MODEL, type Replay } from "../store/replay";
import type { Recording } from "./replay_recording";
import type { Source, SourceListener } from "./source";

/** A run that was held for minutes is not held for minutes again. */
const LONGEST_GAP_MS = 2000;
const SHORTEST_GAP_MS = 5;
type Log = RunSnapshot["intervention_log"];

/** Calls back after a time; returns what calls it off. */
export type After = (ms: number, callback: () => void) => () => void;
const page_timer: After = (ms, callback) => {
  const timer = setTimeout(callback, ms);
  return () => clearTimeout(timer);
};

export class ReplaySource implements Source, Replay {
  readonly name: string;
  readonly n_steps: number;
  readonly n_prompt_steps: number;
  readonly note: string | null;
  readonly problems: readonly string[];
  readonly shown: Signal<number>;
  readonly is_playing = signal(false);
  readonly speed = signal(1);
  private listener: SourceListener | null = null;
  private call_off: (() => void) | null = null;
  /** Generated text after each step. */
  private readonly texts: readonly string[];

  constructor(
    private readonly recording: Recording,
    readonly bytes: Uint8Array<ArrayBuffer>,
    private readonly after: After = page_timer,
  ) {
    const { steps, snapshot } = recording;
    this.name = recording.name;
    this.note = recording.note;
    this.problems = recording.problems;
    this.n_steps = steps.length;
    this.n_prompt_steps = steps.filter((step) => step.pos < snapshot.n_prompt_tokens - 1).length;
    this.shown = signal(steps.length);
    let text = "";
    this.texts = steps.map((step) => (text += step.generated ? step.text_delta : ""));
  }

  get run_id(): string {
    return this.recording.snapshot.run_id;
  }

  // -------------------------------------------------------------------------------------- the source

  open(listener: SourceListener): void {
    this.listener = listener;
    listener.opened();
    listener.event(without_model(this.recording.hello));
  }

  close(): void {
    this.pause();
    this.listener = null;
  }

  send(command: Command): void {
    const { request_id } = command;
    switch (command.type) {
      case "join_run":
        this.tell_from_beginning(request_id);
        break;
      case "ping":
        this.tell({ type: "pong", request_id, server_ns: 0 });
        break;
      case "subscribe": case "request_positions": case "request_keyframe": case "cancel_analysis":
        this.tell({ type: "acknowledged", request_id });
        break;
      default:
        this.tell({ type: "error_report", code: "no_model", message: NO_MODEL, request_id, run_id: null });
    }
  }

  private tell(event: DecodedEvent): void {
    this.listener?.event(event);
  }

  private tell_from_beginning(request_id: number): void {
    this.tell({ type: "run_joined", request_id, run: this.snapshot_at(0) });
    this.tell_rewound(0);
    this.tell_steps(0, this.shown.peek());
  }

  // -------------------------------------------------------------------------------------- moving

  play(): void {
    if (this.n_steps === 0) return;
    const before = this.is_playing.peek();
    this.is_playing.value = true;
    if (this.shown.peek() >= this.n_steps) this.seek(Math.min(this.n_prompt_steps, this.n_steps - 1));
    else if (!before) this.tell_state();
    this.plan_next();
  }

  pause(): void {
    this.call_off?.();
    this.call_off = null;
    if (!this.is_playing.peek()) return;
    this.is_playing.value = false;
    this.tell_state();
  }

  seek(n_steps: number): void {
    const wanted = Math.max(0, Math.min(this.n_steps, Math.round(n_steps)));
    const before = this.shown.peek();
    if (wanted === before) return;
    this.shown.value = wanted;
    if (wanted < before) {
      this.tell({ type: "run_joined", request_id: 0, run: this.snapshot_at(wanted) });
      this.tell_rewound(wanted);
      if (wanted > 0) this.tell_state();
    } else this.tell_steps(before, wanted);
    if (this.is_playing.peek()) this.plan_next();
  }

  private plan_next(): void {
    this.call_off?.();
    this.call_off = null;
    const next = this.shown.peek();
    if (next >= this.n_steps) {
      this.is_playing.value = false;
      return;
    }
    this.call_off = this.after(this.gap_ms(next) / this.speed.peek(), () => this.seek(next + 1));
  }

  /** Between the step before `index` and that one, when the run was made. */
  private gap_ms(index: number): number {
    const [before, step] = [this.recording.steps[index - 1], this.recording.steps[index]];
    const gap_ms = before && step ? (step.server_ns - before.server_ns) / 1e6 : 0;
    return Math.min(LONGEST_GAP_MS, Math.max(SHORTEST_GAP_MS, Number.isFinite(gap_ms) ? gap_ms : 0));
  }

  // -------------------------------------------------------------------------------------- telling

  private tell_steps(from: number, to: number): void {
    for (let i = from; i < to; i++) {
      const step = this.recording.steps[i]!;
      const before = this.recording.steps[i - 1]?.pos ?? -1;
      for (const applied of this.recording.snapshot.intervention_log) {
        if (applied.from_pos > Math.max(before, 0) && applied.from_pos <= step.pos) this.tell_applied(applied);
      }
      this.tell(step);
    }
    this.tell_state();
  }

  private tell_applied(applied: Log[number]): void {
    const event: InterventionsApplied = {
      type: "interventions_applied", run_id: this.run_id, applied, request_id: null,
    };
    this.tell(event);
  }

  private tell_rewound(n_steps: number): void {
    const { steps } = this.recording;
    const from_pos = steps[n_steps]?.pos ?? (steps.at(-1)?.pos ?? -1) + 1;
    const { tokens, text, revision } = this.snapshot_at(n_steps);
    this.tell({ type: "run_rewound", run_id: this.run_id, from_pos, n_tokens: tokens.length, text, revision });
  }

  private tell_state(): void {
    const { snapshot } = this.recording;
    const is_end = this.shown.peek() >= this.n_steps;
    if (is_end && snapshot.state === "finished") this.tell(this.finished());
    else {
      const state = this.is_playing.peek() && !is_end ? "running" : "paused";
      this.tell({ type: "run_state_changed", run_id: this.run_id, state, request_id: null, author: null });
    }
  }

  private finished(): RunFinished {
    const { text, finish_reason, tokens, n_prompt_tokens } = this.recording.snapshot;
    return {
      type: "run_finished", run_id: this.run_id, reason: finish_reason ?? "stopped", message: "",
      n_generated: tokens.length - n_prompt_tokens, text,
    };
  }

  /** The run as it stood when it had so many steps. */
  private snapshot_at(n_steps: number): RunSnapshot {
    const { snapshot, steps } = this.recording;
    const last_pos = steps[n_steps - 1]?.pos ?? -1;
    const log = snapshot.intervention_log.filter((applied) => applied.from_pos <= Math.max(last_pos, 0));
    return {
      ...snapshot,
      tokens: snapshot.tokens.slice(0, Math.max(snapshot.n_prompt_tokens, last_pos + 2)),
      text: n_steps >= steps.length ? snapshot.text : (this.texts[n_steps - 1] ?? ""),
      state: "paused",
      finish_reason: null,
      intervention_log: log,
      revision: log.at(-1)?.revision ?? 0,
      n_steps,
      notice: n_steps === 0 ? snapshot.notice : null,
    };
  }
}

/** The model of the recording, able to do nothing: the page greys what it cannot do, and says why. */
function without_model(hello: Hello): Hello {
  const { capabilities } = hello.model_info;
  const kinds = new Set([...capabilities.analyses, ...capabilities.missing_analyses.map(({ analysis }) => analysis)]);
  const missing_analyses = [...kinds].map((analysis) => ({ analysis, reason: NO_MODEL }));
  return {
    ...hello,
    model_info: {
      ...hello.model_info,
      capabilities: { ...capabilities, operations: [], component_kinds: [], analyses: [], missing_analyses },
    },
  };
}
