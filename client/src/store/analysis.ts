// What is asked about the run, "why this token and not that one?", and what has been answered so far.
import { batch, signal, type Signal } from "@preact/signals";
import { CausalMaps } from "./causal";
import { Comparison } from "./comparison";
import type { Answered } from "./graph";
import { Walk } from "./walk";
import type { MetricQuestion } from "../protocol/generated";
import type { AttributionAnswer, Question } from "../protocol/questions";
import { Inquiries, Inquiry } from "./inquiry";

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
  /** What the causal map has measured, for the picture. */
  readonly causal = new CausalMaps();
  /** Another run beside this one. */
  readonly comparison = new Comparison();

  constructor() {
    this.causal_map.slot.subscribe(({ answer }) => {
      if (answer) this.causal.keep(answer);
    });
  }

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
    this.comparison.end();
  }

  /** The run was computed anew from `from_pos` and keeps `n_tokens`: an answer about what changed is forgotten. */
  rewound(from_pos: number, n_tokens: number): void {
    const question = this.question.peek();
    if (question && (question.pos >= from_pos || question.pos + 1 >= n_tokens)) this.explain(null);
    this.comparison.rewound(from_pos);
  }

  private forget_answers(): void {
    const { overview, paths, relevance, attributions, measured, causal_map, patching } = this;
    for (const held of [overview, paths, relevance, attributions, measured, causal_map, patching]) held.clear();
    this.causal.clear();
  }
}

function same_question(a: MetricQuestion | null, b: MetricQuestion | null): boolean {
  if (!a || !b) return a === b;
  return a.pos === b.pos && a.target === b.target && a.distractor === b.distractor && a.against_mean === b.against_mean;
}

