// From the fields of the form to what the server is asked: the recipe, or the sentence that says what is missing.
import type { ModelInfo, RankOneRecipe } from "../../protocol/generated";
import type { TokenChip } from "../../store/types";
import type { EditDraft } from "./edits_state";

/** As many as the server takes of one prompt. */
export const MAX_PROMPT_TOKENS = 256;
const MAX_STEPS = 100;

export interface Asked {
  recipe: RankOneRecipe;
  name: string;
}

export interface Word {
  text: string;
  /** Where it ends, in characters of the prompt. */
  end: number;
}

export const words_of = (prompt: string): Word[] =>
  [...prompt.matchAll(/\S+/g)].map((match) => ({ text: match[0], end: match.index + match[0].length }));

const lines = (text: string): string[] => text.split("\n").filter((line) => line.trim() !== "");
const whole = (text: string, least: number, limit: number): number | null =>
  /^\d{1,6}$/.test(text.trim()) && Number(text) >= least && Number(text) < limit ? Number(text) : null;

/** A layer where facts about a subject are often found: an eighth of the way, where there is nothing better to go by. */
export const usual_layer = (info: ModelInfo): number => Math.max(1, Math.round(info.n_layers / 6)) % info.n_layers;

/** Why this matrix cannot be edited; null where it can. */
export function why_no_matrix(matrix: RankOneRecipe["matrix"], info: ModelInfo): string | null {
  if (!info.capabilities.operations.includes("rank_one_edit")) return "This model cannot do that.";
  return matrix === "mlp_out" && !info.capabilities.component_kinds.includes("neuron")
    ? "This model's MLPs have no single output matrix to edit: choose attention." : null;
}

export function asked_of(draft: EditDraft, info: ModelInfo, tokens: readonly TokenChip[]): Asked | string {
  const matrix = draft.matrix.value;
  const refusal = why_no_matrix(matrix, info);
  if (refusal) return refusal;
  const layer = draft.layer.value.trim() === "" ? usual_layer(info) : whole(draft.layer.value, 0, info.n_layers);
  if (layer === null) return `The layer is a number from 0 to ${info.n_layers - 1}.`;
  const has_head = matrix === "ov" && draft.head.value.trim() !== "";
  const head_index = has_head ? whole(draft.head.value, 0, info.n_heads) : null;
  if (has_head && head_index === null) return `The head is a number from 0 to ${info.n_heads - 1}; empty for all of them.`;
  const n_steps = whole(draft.n_steps.value, 1, MAX_STEPS + 1);
  if (n_steps === null) return `The steps are a number from 1 to ${MAX_STEPS}.`;
  const clamp = Number(draft.clamp.value);
  if (!(clamp > 0 && clamp <= 100)) return "How far it may go, times the output, is a number from 0 to 100.";
  const subject = subject_of(draft, tokens);
  if (typeof subject === "string") return subject;
  const wanted = draft.wanted.value;
  if (wanted.trim() === "") return "Write the wanted word; a space before it counts.";
  const { name, ...place } = subject;
  const recipe: RankOneRecipe = {
    kind: "rome", matrix, layer, head_index, wanted, n_steps, clamp, covariance: draft.covariance.value,
    prefixes: lines(draft.prefixes.value), spillover_prompts: lines(draft.spillover.value), ...place,
  };
  const where = `L${layer} ${matrix === "mlp_out" ? "W_out" : head_index === null ? "W_O" : `W_O of H${head_index}`}`;
  return { recipe, name: `${name} → ${wanted.trim()} (${where})`.slice(0, 120) };
}

type Subject = Pick<RankOneRecipe, "prompt" | "subject" | "key_pos" | "to_pos"> & { name: string };

function subject_of(draft: EditDraft, tokens: readonly TokenChip[]): Subject | string {
  if (draft.source.value === "run") {
    const key_pos = draft.key_pos.value;
    if (tokens.length === 0) return "Run a prompt first, or type one here.";
    if (key_pos === null || key_pos >= tokens.length) return "Click the subject's last token.";
    const last = tokens.length - 1; // the newest may not be computed yet: the server says so
    return { prompt: "", to_pos: Math.min(last, MAX_PROMPT_TOKENS - 1), key_pos, name: tokens[key_pos]!.text.trim() };
  }
  const prompt = draft.prompt.value;
  const word = words_of(prompt).find(({ end }) => end === draft.word_end.value);
  if (prompt.trim() === "") return "Write a prompt that ends where the wanted word is to come.";
  if (!word) return "Click the subject's last word.";
  return { prompt, subject: prompt.slice(0, word.end), name: word.text };
}
