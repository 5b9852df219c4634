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
  /** Show and send; `refused` is told why, where the server does not take it. */
  send(next: Specs, refused: (why: string) => void): Promise<void>;
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

  /** Why it was refused; null where it was taken. */
  change(change: Change): Promise<string | null> {
    this.end_gesture();
    return this.apply(change, null);
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
    if (waiting) void this.apply(waiting.change, waiting.gesture);
  }

  private async apply(change: Change, gesture: string | null): Promise<string | null> {
    const before = this.store.interventions.peek();
    const next = change(before);
    if (gesture !== null && set_form(next) === set_form(before)) return null; // it rests where it was sent
    const too_long = this.too_long(next);
    if (too_long !== null) return too_long;
    this.steps.record(before, next, gesture);
    let refusal: string | null = null;
    await this.sender.send(next, (why) => {
      refusal = why;
      this.steps.drop(next);
    });
    return refusal;
  }

  private walk(merge: Merge | null): void {
    if (!merge || this.too_long(merge.specs) !== null) return;
    if (merge.kept.length > 0) {
      const names = merge.kept.slice(0, 3).join(", ") + (merge.kept.length > 3 ? ", …" : "");
      add_notice(this.store, "info", `${names}: changed by somebody else since, so left as it is.`);
    }
    void this.sender.send(merge.specs, () => undefined);
  }

  /** Tells that a set is too long, and says it; null where it is not. */
  private too_long(next: Specs): string | null {
    const limit = this.store.limits.peek()?.max_interventions;
    if (limit === undefined || next.length <= limit) return null;
    const message = `A set may have ${limit} interventions: remove some first.`;
    add_notice(this.store, "fault", message);
    return message;
  }
}
