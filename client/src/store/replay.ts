// A recording on the page, as the panels see it: where it stands, and how to move it.
import type { ReadonlySignal, Signal } from "@preact/signals";

/** Of the run's own pace. */
export const SPEEDS = [0.25, 0.5, 1, 2, 4, 8] as const;

export interface Replay {
  name: string;
  n_steps: number;
  /** Steps of the prompt: playing begins after them. */
  n_prompt_steps: number;
  /** Why the recording is not all of the run; none where it is. */
  note: string | null;
  /** What of it is damaged or missing, in sentences. */
  problems: readonly string[];
  /** Steps that the page shows. */
  shown: ReadonlySignal<number>;
  is_playing: ReadonlySignal<boolean>;
  speed: Signal<number>;
  play(): void;
  pause(): void;
  /** Show exactly so many steps. */
  seek(n_steps: number): void;
  /** The file's bytes, to save it once more. */
  bytes: Uint8Array<ArrayBuffer>;
}

/** Why nothing can be asked or changed: said wherever something is greyed. */
export const NO_MODEL = "This is a recording: there is no model behind it.";
