// The intervention set between being sent and being answered: shown at once, and taken back where it is refused.
import type { DecodedEvent } from "../protocol/decode";
import type { InterventionSpec } from "../protocol/generated";
import type { Store } from "../store/store";
import { Refusal } from "./requests";

type Specs = readonly InterventionSpec[];

export class SentSet {
  /** The newest set sent and not yet answered; older answers must not undo it on the page. */
  private unanswered: { request_id: number; interventions: Specs } | null = null;

  constructor(private readonly store: Store) {}

  /** Show the set that was sent as `request_id` until its `answer` is there. Rejects with Refusal. */
  async await_answer(request_id: number, interventions: Specs, answer: Promise<DecodedEvent>): Promise<void> {
    this.unanswered = { request_id, interventions };
    try {
      await answer;
    } catch (error) {
      if (this.unanswered?.request_id === request_id) this.show_in_force();
      if (error instanceof Refusal && error.code === "superseded") return; // a newer one of this page holds instead
      throw error;
    } finally {
      this.forget(request_id);
    }
  }

  /** Heard of every event: the set that it answers is shown as the server has it. */
  hear(event: DecodedEvent): void {
    if (event.type === "interventions_applied" && event.request_id !== null) this.forget(event.request_id);
  }

  /** Show it again where answers to older sets were put into the store. */
  show(): void {
    if (this.unanswered) this.store.interventions.value = this.unanswered.interventions;
  }

  private forget(request_id: number): void {
    if (this.unanswered?.request_id === request_id) this.unanswered = null;
  }

  /** Of the watched run's log, and not what this page showed before: that may have been refused as well. */
  private show_in_force(): void {
    const run = this.store.run.peek();
    if (run) this.store.interventions.value = run.intervention_log.at(-1)?.interventions ?? [];
  }
}
