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

/** Questions of one kind, one for each key (a node, a component); all are forgotten together. */
export class Inquiries<Q extends Question> {
  readonly slots: Signal<ReadonlyMap<string, Slot<AnswerTo<Q>>>> = signal(new Map());
  private readonly held = new Map<string, Inquiry<Q>>();

  ask(key: string, ask: Ask, question: Q): Promise<AnswerTo<Q> | null> {
    let inquiry = this.held.get(key);
    if (!inquiry) {
      inquiry = new Inquiry<Q>();
      this.held.set(key, inquiry);
      const own = inquiry;
      own.slot.subscribe((slot) => {
        if (this.held.get(key) === own) this.slots.value = new Map(this.slots.peek()).set(key, slot);
      });
    }
    return inquiry.ask(ask, question);
  }

  clear(): void {
    const inquiries = [...this.held.values()];
    this.held.clear();
    for (const inquiry of inquiries) inquiry.clear();
    this.slots.value = new Map();
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
    for (const held of [this.overview, this.paths, this.relevance, this.attributions, this.measured, this.causal_map]) {
      held.clear();
    }
  }
}

export function create_analysis(): Analysis {
  return new Analysis();
}

function same_question(a: MetricQuestion | null, b: MetricQuestion | null): boolean {
  if (!a || !b) return a === b;
  return a.pos === b.pos && a.target === b.target && a.distractor === b.distractor && a.against_mean === b.against_mean;
}

