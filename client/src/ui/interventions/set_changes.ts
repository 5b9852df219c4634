// Every change of the intervention set goes through here: bounds, undo, redo, and sliders that are being dragged.
import type { Told } from "../../connection/requests";
import type { InterventionSpec } from "../../protocol/generated";
import { set_form, type Merge } from "../../store/interventions";
import type { InterventionSteps } from "../../store/interventions_steps";
import { add_notice, type Store } from "../../store/store";
import { throttled } from "../shown_step";

type Specs = readonly InterventionSpec[];
export type Change = (specs: Specs) => Specs;

const LIVE_MS = 100;

export interface Sender {
  /** Show and send; why not, where the server does not take it. */
  send(next: Specs): Promise<string | null>;
  /** Whether the moves of a slider that lead from `before` to `next` are sent while it moves. */
  is_live(before: Specs, next: Specs): boolean;
}

export class SetChanges {
  private waiting: { gesture: string; change: Change; told: Told } | null = null;
  private readonly send_waiting = throttled(() => this.flush(), LIVE_MS);
  /** Where nobody beside a control is: a message. */
  private readonly tell: Told = (why) => add_notice(this.store, "fault", why);

  constructor(
    private readonly store: Store,
    private readonly steps: InterventionSteps,
    private readonly sender: Sender,
  ) {}

  /** Whether it was taken; `told` hears why not. */
  change(change: Change, told = this.tell): Promise<boolean> {
    this.end_gesture();
    return this.apply(change, null, told);
  }

  change_live(gesture: string, change: Change, told = this.tell): void {
    if (this.waiting && this.waiting.gesture !== gesture) this.end_gesture();
    this.waiting = { gesture, change, told };
    const now = this.store.interventions.peek();
    if (this.sender.is_live(now, change(now))) this.send_waiting();
  }

  end_gesture(): void {
    this.flush();
    this.steps.end_gesture();
  }

  undo(): void {
    this.end_gesture();
    void this.walk(this.steps.undo(this.store.interventions.peek()));
  }

  redo(): void {
    this.end_gesture();
    void this.walk(this.steps.redo(this.store.interventions.peek()));
  }

  private flush(): void {
    const { waiting } = this;
    this.waiting = null;
    if (waiting) void this.apply(waiting.change, waiting.gesture, waiting.told);
  }

  private async apply(change: Change, gesture: string | null, told: Told): Promise<boolean> {
    const before = this.store.interventions.peek();
    const next = change(before);
    if (gesture !== null && set_form(next) === set_form(before)) return true; // it rests where it was sent
    if (this.is_too_long(next, told)) return false;
    this.steps.record(before, next, gesture);
    const refusal = await this.sender.send(next);
    if (refusal === null) return true;
    this.steps.drop(next);
    told(refusal);
    return false;
  }

  private async walk(merge: Merge | null): Promise<void> {
    if (!merge || this.is_too_long(merge.specs, this.tell)) return;
    if (merge.kept.length > 0) {
      const names = merge.kept.slice(0, 3).join(", ") + (merge.kept.length > 3 ? ", …" : "");
      add_notice(this.store, "info", `${names}: changed by somebody else since, so left as it is.`);
    }
    const refusal = await this.sender.send(merge.specs);
    if (refusal !== null) this.tell(refusal);
  }

  private is_too_long(next: Specs, told: Told): boolean {
    const limit = this.store.limits.peek()?.max_interventions;
    if (limit === undefined || next.length <= limit) return false;
    told(`A set may have ${limit} interventions: remove some first.`);
    return true;
  }
}
