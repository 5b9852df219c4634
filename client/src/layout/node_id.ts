// Nodes of attribution: components at one token, as the server names them: `L12H3@37`, `embed@3`, `logit@14`.
import type { Component } from "../protocol/generated";
import { component_id } from "./component_id";

export type NodeKind = "embed" | "pos_embed" | "logit" | "bias" | "attn_bias" | Component["kind"];

export interface NodePlace {
  kind: NodeKind;
  pos: number;
  /** 0 where the kind has none. */
  layer: number;
  index: number;
}

const NODE = /^(?:(embed|pos_embed|logit|bias)|L(\d{1,9})(?:H(\d{1,9})|N(\d{1,9})|\.(attn_bias|attn|mlp)))@(\d{1,9})$/;

/** Where `node` is; null where the text names none. */
export function parse_node(node: string): NodePlace | null {
  const match = NODE.exec(node);
  if (!match) return null;
  const pos = Number(match[6]);
  if (match[1]) return { kind: match[1] as NodeKind, pos, layer: 0, index: 0 };
  const layer = Number(match[2]);
  if (match[3] !== undefined) return { kind: "head", pos, layer, index: Number(match[3]) };
  if (match[4] !== undefined) return { kind: "neuron", pos, layer, index: Number(match[4]) };
  return { kind: match[5] as NodeKind, pos, layer, index: 0 };
}

/** The component of the model that a node is of; null for tokens, logits and biases. */
export function component_of_node(node: string): Component | null {
  const place = parse_node(node);
  if (!place) return null;
  const { kind, layer, index } = place;
  return kind === "head" || kind === "neuron" || kind === "attn" || kind === "mlp" ? { kind, layer, index } : null;
}

export function node_of(component: Component, pos: number): string {
  return `${component_id(component)}@${pos}`;
}

export function is_input(place: NodePlace): boolean {
  return place.kind === "embed" || place.kind === "pos_embed";
}

/** Nodes that can be asked about: who fed it, and whom it fed. */
export function can_be_asked(node: string): boolean {
  const kind = parse_node(node)?.kind;
  return kind !== undefined && kind !== "bias" && kind !== "attn_bias" && kind !== "pos_embed";
}
