// What is asked for in the top bar, and how it becomes a command: numbers are read here, with one clear
// sentence where one does not fit.
import { signal, type Signal } from "@preact/signals";
import type { RunSettings } from "../../connection/connection";
import { MAX_PROMPT_CHARS } from "../../protocol/generated";
import type { RunView } from "../../store/types";

export interface RunForm {
  prompt: Signal<string>;
  apply_chat_template: Signal<boolean>;
  greedy: Signal<boolean>;
  temperature: Signal<string>;
  top_k: Signal<string>;
  top_p: Signal<string>;
  seed: Signal<string>;
  max_new_tokens: Signal<string>;
  target_token: Signal<string>;
  distractor_token: Signal<string>;
}

export function create_run_form(): RunForm {
  return {
    prompt: signal("When Mary and John went to the store, John gave a drink to"),
    apply_chat_template: signal(false),
    greedy: signal(true),
    temperature: signal("0.8"),
    top_k: signal("0"),
    top_p: signal("0.95"),
    seed: signal("0"),
    max_new_tokens: signal("64"),
    target_token: signal(""),
    distractor_token: signal(""),
  };
}

/** Show the settings of a run that was joined. */
export function fill_form(form: RunForm, run: RunView): void {
  form.prompt.value = run.prompt;
  form.apply_chat_template.value = run.apply_chat_template;
  form.greedy.value = run.sampling.temperature === 0;
  if (run.sampling.temperature > 0) {
    // A greedy run carries none of these: what was typed for sampling stays.
    form.temperature.value = String(run.sampling.temperature);
    form.top_k.value = String(run.sampling.top_k);
    form.top_p.value = String(run.sampling.top_p);
  }
  form.seed.value = String(run.sampling.seed);
  form.max_new_tokens.value = String(run.sampling.max_new_tokens);
}

interface Bound {
  name: string;
  min: number;
  max: number;
  is_whole: boolean;
}

const BOUNDS = {
  temperature: { name: "Temperature", min: 0, max: 100, is_whole: false },
  top_k: { name: "Top-k", min: 0, max: 1_000_000, is_whole: true },
  top_p: { name: "Top-p", min: 0.000_001, max: 1, is_whole: false },
  seed: { name: "Seed", min: 0, max: Number.MAX_SAFE_INTEGER, is_whole: true },
  max_new_tokens: { name: "Length", min: 1, max: 1_000_000, is_whole: true },
} satisfies Record<string, Bound>;

function read_number(text: string, bound: Bound): number | string {
  const value = text.trim() === "" ? Number.NaN : Number(text);
  const fits = value >= bound.min && value <= bound.max && (!bound.is_whole || Number.isInteger(value));
  const kind = bound.is_whole ? "a whole number" : "a number";
  return fits ? value : `${bound.name} must be ${kind} from ${bound.min} to ${bound.max}.`;
}

/** The settings for `start_run`, or the sentence that says what does not fit. */
export function read_settings(form: RunForm): RunSettings | string {
  const prompt = form.prompt.peek();
  if (prompt.trim() === "") return "The prompt is empty: type some text for the model to continue.";
  if (prompt.length > MAX_PROMPT_CHARS) {
    return `The prompt has ${prompt.length} characters; at most ${MAX_PROMPT_CHARS} can be sent.`;
  }
  const numbers: Partial<Record<keyof typeof BOUNDS, number>> = {};
  for (const key of Object.keys(BOUNDS) as (keyof typeof BOUNDS)[]) {
    const value = read_number(form[key].peek(), BOUNDS[key]);
    if (typeof value === "string") return value;
    numbers[key] = value;
  }
  const { temperature = 0, top_k = 0, top_p = 1, seed = 0, max_new_tokens = 64 } = numbers;
  const greedy = form.greedy.peek();
  return {
    prompt,
    apply_chat_template: form.apply_chat_template.peek(),
    sampling: {
      temperature: greedy ? 0 : temperature, top_k: greedy ? 0 : top_k, top_p: greedy ? 1 : top_p,
      seed, max_new_tokens, stop_at_eos: true,
    },
    target_token: form.target_token.peek() || null,
    distractor_token: form.distractor_token.peek() || null,
  };
}
