// Token importance: how much each token of the text matters for the explained prediction, as a tint of the strip.
import type { Metric } from "../../protocol/generated";
import type { RelevanceAnswer } from "../../protocol/questions";
import { is_at_rest, once_settled } from "../../store/rest";
import type { Store } from "../../store/store";
import { number_text, percent_text, signed_text } from "../format";
import type { Page } from "../page";
import { largest_size } from "../parts/paint";
import { question_of } from "./why_actions";

const METHODS = {
  importance_frozen: "frozen",
  importance_gradient: "gradient_x_input",
  importance_integrated: "integrated_gradients",
} as const;
export type ImportanceMetric = keyof typeof METHODS;

export const IMPORTANCE_WORDS: Record<ImportanceMetric, string> = {
  importance_frozen: "Relevance",
  importance_gradient: "Gradient × input",
  importance_integrated: "Integrated gradients",
};

const CREDITED_TO_NONE: Record<ImportanceMetric, string> = {
  importance_frozen: "biases",
  importance_gradient: "nothing else",
  importance_integrated: "what the model says of mean embeddings",
};

export function is_importance(metric: string): metric is ImportanceMetric {
  return Object.hasOwn(METHODS, metric);
}

/** Not before the shown token has rested so long. */
const REST_MS = 200;

/** Ask for the importance that is chosen as tint, whenever what is explained changes; until the result is called. */
export function keep_importance(page: Page): () => void {
  const { store, state, actions } = page;
  let asked = "";
  return once_settled(REST_MS, () => {
    const metric = state.chip_metric.value;
    const [run, pos] = [store.run.value, store.current_pos.value];
    const is_open = store.analysis.walk.is_open.value;
    const explained = store.analysis.question.value;
    const is_connected = store.connection.value === "open";
    const has_next = store.tokens.value[pos + 1] !== undefined;
    if (!is_importance(metric) || !run || !is_at_rest(run) || !is_connected) return null;
    const question = is_open ? explained : has_next && pos >= 0 ? question_of(pos, "", "", false) : null;
    if (!question) return null;
    const method = METHODS[metric];
    const key = JSON.stringify([run.run_id, run.revision, question, method]);
    const { progress, answer, error } = store.analysis.relevance.slot.peek();
    if (key === asked && (progress || answer || error)) return null;
    return () => {
      asked = key;
      store.analysis.explain(question);
      void store.analysis.relevance.ask(actions.ask, { type: "request_relevance", metric: question, method });
    };
  });
}

function answer_of(store: Store, metric: ImportanceMetric): RelevanceAnswer | null {
  const { answer } = store.analysis.relevance.slot.peek();
  return answer?.method === METHODS[metric] ? answer : null;
}

const LARGEST = new WeakMap<RelevanceAnswer, number>();

/** Looked for once: every chip of a long text asks. */
function largest_of(answer: RelevanceAnswer): number {
  let largest = LARGEST.get(answer);
  if (largest === undefined) LARGEST.set(answer, (largest = largest_size(answer.tokens.values, 1e-12)));
  return largest;
}

/** The tint of the token at `pos`, signed, largest 1; none where it is not part of the answer. */
export function importance_tint(store: Store, pos: number, metric: ImportanceMetric): { strength: number; text: string } | null {
  const answer = answer_of(store, metric);
  const value = answer?.tokens.values[pos];
  if (!answer || value === undefined) return null;
  return { strength: value / largest_of(answer), text: `${signed_text(value)} logits of ${target_words(answer.metric)}` };
}

function target_words(metric: Metric): string {
  return `“${metric.target_text}”`;
}

/** How far the method is complete, in short and in full; none before there is an answer. */
export function completeness_words(store: Store, metric: ImportanceMetric): { short: string; full: string } | null {
  const slot = store.analysis.relevance.slot.value;
  if (slot.progress) {
    const { done, total } = slot.progress;
    const said = total > 0 ? `working… ${Math.round((100 * done) / total)} %` : "working…";
    return { short: said, full: said };
  }
  if (slot.error !== null) return { short: slot.error, full: slot.error };
  const answer = slot.answer;
  if (!answer || answer.method !== METHODS[metric]) return null;
  const reached = answer.metric.value === 0 ? null : answer.total / answer.metric.value;
  const placed = answer.placed > 0 ? number_text(answer.placed, 2) : null;
  const sum = `Tokens and ${CREDITED_TO_NONE[metric]} sum to ${signed_text(answer.total)} of ${signed_text(answer.metric.value)}`;
  const error = `against what the method promises the error is ${signed_text(answer.error, 2)}`;
  const estimate = placed && `${placed} logits (signs aside) lie between the gradients taken and were placed by the slopes there`;
  return {
    short: `${percent_text(reached)} of ${signed_text(answer.metric.value)} logits${placed ? `, ${placed} placed` : ""}`,
    full: `${[sum, error, estimate].filter(Boolean).join("; ")}.`,
  };
}
