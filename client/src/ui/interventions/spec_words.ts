// What an intervention does, in words: for the list, and for who cannot see the picture.
import { component_id } from "../../layout/component_id";
import type { AttentionEdit, InterventionSpec, Positions, Reference, StreamPlace } from "../../protocol/generated";
import type { TokenChip } from "../../store/types";
import { number_text, token_quote } from "../format";

type Tokens = readonly TokenChip[];
export type Operation = InterventionSpec["operation"];
/** What a direction or an edit is called, by its id. */
export type DirectionNames = ReadonlyMap<string, string>;

export const OPERATION_NAMES: Record<Operation, string> = {
  zero: "Switch off",
  scale: "Multiply",
  mean: "Put to its mean",
  resample: "Take from elsewhere",
  set: "Put to a value",
  add_direction: "Add a direction",
  rank_one_edit: "Edit a weight matrix",
  project_out: "Take a direction out",
  attention_knockout: "Do not look at",
  attention_set: "Look at",
  attention_turn: "Look at this instead of that",
};

/** Whom `spec` changes: the first few components, or places in the residual stream. */
export function target_words(spec: InterventionSpec): string {
  const names = spec.components.length > 0 ? spec.components.map(component_id) : (spec.stream ?? []).map(place_words);
  const more = names.length > 3 ? ` and ${names.length - 3} more` : "";
  return names.slice(0, 3).join(", ") + more;
}

export function place_words({ layer, hook }: StreamPlace): string {
  return hook === "resid_pre" ? `stream before L${layer}` : `stream after L${layer}`;
}

export function operation_words(spec: InterventionSpec, tokens: Tokens, directions: DirectionNames): string {
  const named = (): string => `“${directions.get(spec.direction_id ?? "") ?? "a direction"}”`;
  switch (spec.operation) {
    case "zero":
      return "zero";
    case "scale":
      return `× ${number_text(spec.amount)}`;
    case "mean":
      return `its mean over ${reference_words(spec.reference)}, ${spec.reference?.pooled === false ? "position by position" : "one for all positions"}`;
    case "resample":
      return `as in ${reference_words(spec.reference)}, ${taken_words(spec.reference)}`;
    case "set":
      return spec.direction_id ? `writes ${number_text(spec.amount)} × ${named()}` : `= ${number_text(spec.amount)}`;
    case "add_direction":
      return `+ ${number_text(spec.amount)} × ${named()}${UNIT_WORDS[spec.unit ?? "direction"]}`;
    case "rank_one_edit":
      return `weights edited, ${number_text(spec.amount)} × “${directions.get(spec.edit_id ?? "") ?? "an edit"}”`;
    case "project_out":
      return `without ${named()}`;
    default:
      return spec.attention ? attention_words(spec.operation, spec.attention, tokens) : spec.operation;
  }
}

const UNIT_WORDS: Record<NonNullable<InterventionSpec["unit"]>, string> = {
  direction: "", norm: " at length 1", stream: " at the stream's length",
};

function reference_words(reference: Reference | null | undefined): string {
  if (!reference || reference.source === "prompt") return "the prompt";
  if (reference.source === "run") return "another run";
  const [first = "", ...more] = reference.texts ?? [];
  return `${token_quote(first.length > 24 ? `${first.slice(0, 23)}…` : first)}${more.length > 0 ? ` and ${more.length} more` : ""}`;
}

const taken_words = (reference: Reference | null | undefined): string =>
  typeof reference?.pos === "number" ? `at its position ${reference.pos}` : "at the same position";

export function key_words(keys: readonly number[], tokens: Tokens): string {
  const named = keys.slice(0, 3).map((pos) => `${token_quote(tokens[pos]?.text ?? "?")} (${pos})`);
  return named.join(", ") + (keys.length > 3 ? ` and ${keys.length - 3} more` : "");
}

function attention_words(operation: Operation, edit: AttentionEdit, tokens: Tokens): string {
  const keys = key_words(edit.keys, tokens);
  if (operation === "attention_knockout") {
    return `does not look at ${keys}; ${edit.renormalise === false ? "that weight is lost" : "the rest scaled up to 100 %"}`;
  }
  if (operation === "attention_turn") {
    return `looks at ${keys} instead of ${edit.from_keys?.length ? key_words(edit.from_keys, tokens) : "all else"}`;
  }
  const weights = edit.weights?.length ? ` with ${edit.weights.map((weight) => number_text(weight)).join(", ")}` : "";
  const rest = edit.rest === "scaled" ? "the rest scaled to fill up"
    : edit.renormalise === false ? "nothing else, weights as they stand"
      : edit.weights?.length ? "nothing else, weights divided by their sum" : "nothing else";
  return `looks at ${keys}${weights}, ${rest}`;
}

/** At which positions of those its set holds for; empty for all of them. */
export function positions_words(positions: Positions | undefined, tokens: Tokens): string {
  const at = (pos: number): string => `${pos}${tokens[pos] ? ` (${token_quote(tokens[pos].text)})` : ""}`;
  switch (positions?.scope) {
    case "all":
      return "everywhere";
    case "tokens": {
      const ids = positions.token_ids ?? [];
      const text = (id: number): string => token_quote(tokens.find((chip) => chip.token_id === id)?.text ?? `#${id}`);
      return `only where the token is ${ids.slice(0, 3).map(text).join(" or ")}${ids.length > 3 ? " …" : ""}`;
    }
    case "range": {
      const { from_pos = 0, to_pos = null } = positions;
      if (to_pos === null) return `at ${at(from_pos)} and after`;
      return to_pos === from_pos + 1 ? `at ${at(from_pos)} only` : `at ${from_pos} to ${to_pos - 1}`;
    }
    default:
      return "";
  }
}
