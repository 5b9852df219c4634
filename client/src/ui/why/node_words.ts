// Nodes and edges in words.
import { component_of_node, parse_node } from "../../layout/node_id";
import { component_id } from "../../layout/component_id";
import type { Metric } from "../../protocol/generated";
import type { TokenChip } from "../../store/types";
import { token_quote } from "../format";

export interface NodeWords {
  /** `L12H3`, `“ Mary”`, `logit`. */
  name: string;
  /** ` at 14 “ to”`, or nothing where the node is the token. */
  where: string;
}

/** What a node is called, and at which token it is. */
export function node_words(node: string, tokens: readonly TokenChip[], metric: Metric | null): NodeWords {
  const place = parse_node(node);
  if (!place) return { name: node, where: "" };
  const token = tokens[place.pos];
  const quote = token ? token_quote(token.text) : "";
  const component = component_of_node(node);
  if (component) return { name: component_id(component), where: `${place.pos} ${quote}` };
  switch (place.kind) {
    case "embed":
      return { name: quote || `token ${place.pos}`, where: `token ${place.pos}` };
    case "pos_embed":
      return { name: "position", where: `${place.pos} ${quote}` };
    case "logit":
      return { name: metric ? `${token_quote(metric.target_text)}` : "logit", where: "logit" };
    case "attn_bias":
      return { name: `L${place.layer} attention bias`, where: `${place.pos} ${quote}` };
    default:
      return { name: "bias", where: `${place.pos} ${quote}` };
  }
}

export function metric_words(metric: Metric): string {
  const against = metric.distractor_text === null ? "the mean of all" : token_quote(metric.distractor_text);
  return `${token_quote(metric.target_text)} over ${against}`;
}

export const PART_WORDS = { input: "Input", value: "Value", query: "Query", key: "Key" } as const;
