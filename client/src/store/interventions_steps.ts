// Undo and redo of the intervention set. A step is a change, not a set: undone, it leaves alone what other viewers
// of the run did meanwhile.
import { computed, signal, type ReadonlySignal } from "@preact/signals";
import type { InterventionSpec } from "../protocol/generated";
import { merge_change, set_form, type Merge } from "./interventions";

type Specs = readonly InterventionSpec[];

interface Step {
  before: Specs;
  after: Specs;
  /** Changes of one gesture (a slider that is being dragged) are one step. */
  gesture: string | null;
}

const MAX_STEPS = 100;

export class InterventionSteps {
  private readonly done = signal<readonly Step[]>([]);
  private readonly undone = signal<readonly Step[]>([]);
  readonly can_undo: ReadonlySignal<boolean> = computed(() => this.done.value.length > 0);
  readonly can_redo: ReadonlySignal<boolean> = computed(() => this.undone.value.length > 0);

  /** Remember a change. A change that changes nothing is no step. */
  record(before: Specs, after: Specs, gesture: string | null = null): void {
    const last = this.done.peek().at(-1);
    const goes_on = gesture !== null && last?.gesture === gesture;
    if (!goes_on && set_form(before) === set_form(after)) return;
    const step: Step = { before: goes_on ? last.before : before, after, gesture };
    const others = goes_on ? this.done.peek().slice(0, -1) : this.done.peek();
    this.done.value = [...others, step].slice(-MAX_STEPS);
    this.undone.value = [];
  }

  /** The next change of the same gesture is a step of its own. */
  end_gesture(): void {
    const steps = this.done.peek();
    const last = steps.at(-1);
    if (last && last.gesture !== null) this.done.value = [...steps.slice(0, -1), { ...last, gesture: null }];
  }

  /** The server refused what led to `after`: it never was. */
  drop(after: Specs): void {
    this.done.value = this.done.peek().filter((step) => step.after !== after);
  }

  /** `current` without the last change; null where none is left. */
  undo(current: Specs): Merge | null {
    const step = this.done.peek().at(-1);
    if (!step) return null;
    this.done.value = this.done.peek().slice(0, -1);
    this.undone.value = [...this.undone.peek(), step];
    return merge_change(current, step.after, step.before);
  }

  /** `current` with the change that was undone last; null where none is left. */
  redo(current: Specs): Merge | null {
    const step = this.undone.peek().at(-1);
    if (!step) return null;
    this.undone.value = this.undone.peek().slice(0, -1);
    this.done.value = [...this.done.peek(), step];
    return merge_change(current, step.before, step.after);
  }
}
