// Every change of the intervention set goes through here: bounds, undo, redo, and sliders that are being dragged.
import type { InterventionSpec } from "../../protocol/generated";
import { set_form, type Merge } from "../../store/interventions";
import type { InterventionSteps } from "../../store/interventions_steps";
import { add_notice, type Store } from "../../store/store";
import { throttled } from "../shown_step";

type Specs = readonly InterventionSpec[];
export type Change = (specs: Specs) => Specs;

const LIVE_MS = 100;

export interface Sender {
  /** Show and send; `refused` is called where the server does not take it. */
  send(next: Specs, refused: () => void): Promise<void>;
  /** Whether the moves of a slider that lead from `before` to `next` are sent while it moves. */
  is_live(before: Specs, next: Specs): boolean;
}

export class SetChanges {
  private waiting: { gesture: string; change: Change } | null = null;
  private readonly send_waiting = throttled(() => this.flush(), LIVE_MS);

  constructor(
    private readonly store: Store,
    private readonly steps: InterventionSteps,
    private readonly sender: Sender,
  ) {}

  change(change: Change): void {
    this.end_gesture();
    this.apply(change, null);
  }

  change_live(gesture: string, change: Change): void {
    if (this.waiting && this.waiting.gesture !== gesture) this.end_gesture();
    this.waiting = { gesture, change };
    const now = this.store.interventions.peek();
    if (this.sender.is_live(now, change(now))) this.send_waiting();
  }

  end_gesture(): void {
    this.flush();
    this.steps.end_gesture();
  }

  undo(): void {
    this.end_gesture();
    this.walk(this.steps.undo(this.store.interventions.peek()));
  }

  redo(): void {
    this.end_gesture();
    this.walk(this.steps.redo(this.store.interventions.peek()));
  }

  private flush(): void {
    const { waiting } = this;
    this.waiting = null;
    if (waiting) this.apply(waiting.change, waiting.gesture);
  }

  private apply(change: Change, gesture: string | null): void {
    const before = this.store.interventions.peek();
    const next = change(before);
    if (gesture !== null && set_form(next) === set_form(before)) return; // it rests where it was sent
    if (this.is_too_long(next)) return;
    this.steps.record(before, next, gesture);
    void this.sender.send(next, () => this.steps.drop(next));
  }

  private walk(merge: Merge | null): void {
    if (!merge || this.is_too_long(merge.specs)) return;
    if (merge.kept.length > 0) {
      const names = merge.kept.slice(0, 3).join(", ") + (merge.kept.length > 3 ? ", …" : "");
      add_notice(this.store, "info", `${names}: changed by somebody else since, so left as it is.`);
    }
    void this.sender.send(merge.specs, () => undefined);
  }

  private is_too_long(next: Specs): boolean {
    const limit = this.store.limits.peek()?.max_interventions;
    if (limit === undefined || next.length <= limit) return false;
    add_notice(this.store, "fault", `A set may have ${limit} interventions: remove some first.`);
    return true;
  }
}
