// A question and its answer, as far as it has come; and many questions of one kind, asked one after the other.
import { signal, type Signal } from "@preact/signals";
import type { AnswerTo, Ask, Progress, Question } from "../protocol/questions";

/** One question's state: nothing asked, being worked on (`progress`), answered, or refused (`error`). */
export interface Slot<A> {
  readonly progress: Progress | null;
  readonly answer: A | null;
  readonly error: string | null;
}
export const EMPTY_SLOT: Slot<never> = { progress: null, answer: null, error: null };

/** A question that holds one answer: asking again gives up the one before, and an answer that is late is dropped. */
export class Inquiry<Q extends Question> {
  readonly slot: Signal<Slot<AnswerTo<Q>>> = signal(EMPTY_SLOT);
  private running: AbortController | null = null;

  /** Ask; the answer before stays in the slot until the new one is there. Never rejects: see `slot`. */
  async ask(ask: Ask, question: Q): Promise<AnswerTo<Q> | null> {
    this.running?.abort();
    const own = (this.running = new AbortController());
    const settle = (changes: Partial<Slot<AnswerTo<Q>>>): void => {
      if (this.running === own) this.slot.value = { ...this.slot.peek(), ...changes };
    };
    settle({ progress: { done: 0, total: 0 }, error: null });
    try {
      const answer = await ask(question, (progress) => settle({ progress }), own.signal);
      settle({ progress: null, answer });
      return this.running === own ? answer : null;
    } catch (error) {
      settle({ progress: null, answer: null, error: error instanceof Error ? error.message : String(error) });
      return null;
    }
  }

  /** Stop waiting; what was answered before stays. */
  give_up(): void {
    this.running?.abort();
    this.running = null;
    if (this.slot.peek().progress) this.slot.value = { ...this.slot.peek(), progress: null };
  }

  /** Forget the answer, and stop waiting for one. */
  clear(): void {
    this.give_up();
    this.slot.value = EMPTY_SLOT;
  }
}

interface Waiting<Q extends Question> {
  key: string;
  ask: Ask;
  question: Q;
}

/**
 * Questions of one kind, an answer for each key (a node, a component). They are asked one after the other: a server
 * works on one question of a kind for a viewer, and takes a newer one for its successor.
 */
export class Inquiries<Q extends Question> {
  readonly slots: Signal<ReadonlyMap<string, Slot<AnswerTo<Q>>>> = signal(new Map());
  private readonly waiting: Waiting<Q>[] = [];
  private running: { key: string; inquiry: Inquiry<Q> } | null = null;

  /** Ask when those before are answered; a key that is being asked already is not asked again. */
  ask(key: string, ask: Ask, question: Q): void {
    if (this.slots.peek().get(key)?.progress) return;
    this.write(key, { progress: { done: 0, total: 0 }, answer: null, error: null });
    this.waiting.push({ key, ask, question });
    void this.work();
  }

  /** Give up every question that is not answered and not about one of `keys`. */
  keep_only(keys: ReadonlySet<string>): void {
    const kept = this.waiting.filter((one) => keys.has(one.key));
    this.waiting.splice(0, this.waiting.length, ...kept);
    const slots = [...this.slots.peek()].filter(([key, slot]) => keys.has(key) || slot.answer !== null);
    if (slots.length < this.slots.peek().size) this.slots.value = new Map(slots);
    if (this.running && !keys.has(this.running.key)) this.running.inquiry.give_up();
  }

  clear(): void {
    this.waiting.length = 0;
    this.slots.value = new Map();
    this.running?.inquiry.give_up();
  }

  private async work(): Promise<void> {
    if (this.running) return;
    const next = this.waiting.shift();
    if (!next) return;
    const inquiry = new Inquiry<Q>();
    this.running = { key: next.key, inquiry };
    const end = inquiry.slot.subscribe((slot) => {
      if (slot !== EMPTY_SLOT && this.slots.peek().has(next.key)) this.write(next.key, slot);
    });
    await inquiry.ask(next.ask, next.question);
    end();
    this.running = null;
    void this.work();
  }

  private write(key: string, slot: Slot<AnswerTo<Q>>): void {
    this.slots.value = new Map(this.slots.peek()).set(key, slot);
  }
}
