// Another run beside this one: what it is, what of it is shown, and the answers that have come, by position.
import { batch, signal, type Signal } from "@preact/signals";
import type { Ask, ComparisonAnswer, Question } from "../protocol/questions";
import { Inquiry } from "./inquiry";

/** What the other run is made from: another prompt, or this run's text without its interventions. */
export interface OtherRun {
  /** None: this run's own. */
  other_prompt: string | null;
  apply_chat_template: boolean;
  without_interventions: boolean;
  /** Of the direct contributions and the lens, as written by the person; none: what the shown token's step explains. */
  target: string | null;
  distractor: string | null;
}

export interface Pair {
  target: number | null;
  distractor: number | null;
}

/** `twin`: the difference from the clean twin, which every step brings while one is carried. */
export type ComparedView = "own" | "other" | "difference" | "twin";

/** Answers are kept up to so many bytes of arrays, the newest longest. */
const MOST_BYTES = 128 * 2 ** 20;

export class Comparison {
  readonly other_run: Signal<OtherRun | null> = signal(null);
  readonly view: Signal<ComparedView> = signal("own");
  readonly inquiry = new Inquiry<Extract<Question, { type: "request_comparison" }>>();
  readonly answers: Signal<ReadonlyMap<number, ComparisonAnswer>> = signal(new Map());

  /** Compare with something else from now on, and show the difference; what was answered before is forgotten. */
  begin(other_run: OtherRun): void {
    batch(() => {
      this.inquiry.clear();
      this.answers.value = new Map();
      this.other_run.value = other_run;
      this.view.value = "difference";
    });
  }

  /** Ask about one position, unless it is answered or being asked. */
  async ask(ask: Ask, pos: number, pair: Pair): Promise<void> {
    const other_run = this.other_run.peek();
    if (!other_run || this.answers.peek().has(pos)) return;
    const { target, distractor, ...other } = other_run;
    const metric = target === null && distractor === null ? pair : { target: target ?? pair.target, distractor };
    const answer = await this.inquiry.ask(ask, { type: "request_comparison", pos, ...other, ...metric });
    if (answer && this.other_run.peek() === other_run) this.keep(answer);
  }

  /** Compare no more. */
  end(): void {
    batch(() => {
      this.inquiry.clear();
      this.answers.value = new Map();
      this.other_run.value = null;
      if (this.view.peek() !== "twin") this.view.value = "own";
    });
  }

  /** Positions from `from_pos` on are computed anew. */
  rewound(from_pos: number): void {
    this.inquiry.give_up();
    const kept = [...this.answers.peek()].filter(([pos]) => pos < from_pos);
    if (kept.length < this.answers.peek().size) this.answers.value = new Map(kept);
  }

  private keep(answer: ComparisonAnswer): void {
    const held = new Map(this.answers.peek());
    held.delete(answer.pos);
    held.set(answer.pos, answer);
    let bytes = [...held.values()].reduce((sum, one) => sum + size_bytes(one), 0);
    for (const [pos, one] of held) {
      if (bytes <= MOST_BYTES || pos === answer.pos) break;
      bytes -= size_bytes(one);
      held.delete(pos);
    }
    this.answers.value = held;
  }
}

function size_bytes({ other, difference }: ComparisonAnswer): number {
  return [...Object.values(other), ...Object.values(difference)].reduce((sum, { values }) => sum + values.byteLength, 0);
}
