// The step whose numbers the panels show, at most every SHOWN_MS: the picture follows each token, panels of
// text need not, and a page at 60 tokens a second stays calm.
import { signal, type ReadonlySignal } from "@preact/signals";
import type { Store } from "../store/store";
import type { StepRecord } from "../store/types";

const SHOWN_MS = 100;

export interface ShownStep {
  pos: number;
  step: StepRecord | undefined;
}

export interface Shown {
  step: ReadonlySignal<ShownStep>;
  /** Counts changes of any held step, as slowly. */
  version: ReadonlySignal<number>;
}

/** Call `work` now, or where it was called within `every_ms`, once at the end of that time. */
export function throttled(work: () => void, every_ms: number): () => void {
  let timer: ReturnType<typeof setTimeout> | null = null;
  let is_due = false;
  const rest = (): void => {
    timer = null;
    if (!is_due) return;
    is_due = false;
    run();
  };
  const run = (): void => {
    if (timer !== null) {
      is_due = true;
      return;
    }
    timer = setTimeout(rest, every_ms);
    work();
  };
  return run;
}

export function watch_shown_step(store: Store): Shown {
  const step = signal<ShownStep>({ pos: -1, step: undefined });
  const version = signal(0);
  const refresh = throttled(() => {
    const pos = store.current_pos.peek();
    step.value = { pos, step: store.history.get(pos) };
  }, SHOWN_MS);
  const count = throttled(() => (version.value += 1), SHOWN_MS);
  store.current_pos.subscribe(refresh);
  store.history.subscribe((pos) => {
    count();
    if (pos === -1 || pos === store.current_pos.peek()) refresh();
  });
  return { step, version };
}
