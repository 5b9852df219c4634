// What is asked about the run, "why this token and not that one?", and what has been answered so far.
import { batch, signal, type Signal } from "@preact/signals";
import type { Answered } from "./graph";
import { Walk } from "./walk";
import type { MetricQuestion } from "../protocol/generated";
import type { AnswerTo, Ask, AttributionAnswer, Progress, Question } from "../protocol/questions";

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

type Of<T extends Question["type"]> = Extract<Question, { type: T }>;

export class Analysis {
  /** What is explained; none before a person asks. */
  readonly question: Signal<MetricQuestion | null> = signal(null);
  readonly overview = new Inquiry<Of<"request_overview">>();
  readonly paths = new Inquiry<Of<"request_paths">>();
  readonly relevance = new Inquiry<Of<"request_relevance">>();
  /** By `incoming L12H3@37` or `outgoing L12H3@37`. */
  readonly attributions = new Inquiries<Of<"request_attribution">>();
  /** Measured one at a time, by the component's id. */
  readonly measured = new Inquiries<Of<"request_effects">>();
  /** Measured all at once: the causal map. */
  readonly causal_map = new Inquiry<Of<"request_effects">>();
  /** Another prompt's run, with this one's values put into it place by place. */
  readonly patching = new Inquiry<Of<"request_patching">>();
  readonly walk = new Walk(() => this.answered());

  /** Explain something else: answers to the question before are forgotten. */
  explain(question: MetricQuestion | null): void {
    const before = this.question.peek();
    if (same_question(before, question)) return;
    batch(() => {
      this.forget_answers();
      this.question.value = question;
      this.walk.begin(question && `logit@${question.pos}`);
    });
  }

  /** What is known of the graph: the paths, and every node that was walked through. */
  private answered(): Answered | null {
    const paths = this.paths.slot.value.answer;
    const attributions = [...this.attributions.slots.value.values()]
      .map((slot) => slot.answer)
      .filter((answer): answer is AttributionAnswer => answer !== null);
    const metric = paths?.metric ?? attributions[0]?.metric ?? this.overview.slot.value.answer?.metric;
    if (!metric) return null;
    const { nodes, at } = this.walk.trail.value;
    const walked = new Set(nodes.slice(0, at + 1));
    return { metric, paths, attributions: attributions.filter((answer) => walked.has(answer.node)) };
  }

  /** Another run: nothing that was asked holds. */
  forget(): void {
    this.explain(null);
  }

  /** The run was computed anew from `from_pos` and keeps `n_tokens`: an answer about what changed is forgotten. */
  rewound(from_pos: number, n_tokens: number): void {
    const question = this.question.peek();
    if (question && (question.pos >= from_pos || question.pos + 1 >= n_tokens)) this.forget();
  }

  private forget_answers(): void {
    const { overview, paths, relevance, attributions, measured, causal_map, patching } = this;
    for (const held of [overview, paths, relevance, attributions, measured, causal_map, patching]) held.clear();
  }
}

export function create_analysis(): Analysis {
  return new Analysis();
}

function same_question(a: MetricQuestion | null, b: MetricQuestion | null): boolean {
  if (!a || !b) return a === b;
  return a.pos === b.pos && a.target === b.target && a.distractor === b.distractor && a.against_mean === b.against_mean;
}

