// The attribution graph that is looked at: what was answered, cut at a threshold, with a person's pins and names.
import type { Edge, Metric } from "../protocol/generated";
import type { AttributionAnswer, PathsAnswer } from "../protocol/questions";

export interface Pin {
  /** What a person calls it; empty: nothing. */
  name: string;
  group: string;
}

export interface ShownNode {
  node: string;
  /** Its whole contribution to the metric, logits; none where it was only seen as an edge's end. */
  relevance: number | null;
  label: string;
  pin: Pin | null;
}

export interface ShownGraph {
  metric: Metric;
  nodes: readonly ShownNode[];
  /** Signed, strongest first. */
  edges: readonly Edge[];
  /** Edges known and below the threshold. */
  n_hidden: number;
  /** Largest |weight| of the edges in logits: what thickness is measured by. */
  scale: number;
  /** The same of query and key edges, which are parts of a score. */
  score_scale: number;
}

export interface Answered {
  metric: Metric;
  paths: PathsAnswer | null;
  /** Of the nodes walked through. */
  attributions: readonly AttributionAnswer[];
}

const edge_key = (edge: Edge): string => `${edge.writer} ${edge.reader} ${edge.part}`;
/** Query and key edges are parts of a score, not logits: they are compared among themselves. */
export const is_score = (edge: Edge): boolean => edge.part === "query" || edge.part === "key";

export interface GraphCut {
  /** Edges below this share of the largest of their kind are hidden. */
  threshold: number;
  /** With the edges into queries and keys, which are many, and parts of a score. */
  with_scores: boolean;
}

/**
 * The graph of all that was answered. An edge stays where `cut` leaves it, or where both its ends are in `kept`
 * (walked through, or pinned).
 */
export function shown_graph(
  answered: Answered,
  { threshold, with_scores }: GraphCut,
  kept: ReadonlySet<string>,
  pins: ReadonlyMap<string, Pin>,
): ShownGraph {
  const edges = new Map<string, Edge>();
  const relevance = new Map<string, number>();
  const labels = new Map<string, string>();
  const add = (edge: Edge): void => void (edges.has(edge_key(edge)) || edges.set(edge_key(edge), edge));
  answered.paths?.edges.forEach(add);
  for (const { node, relevance: value, label } of answered.paths?.nodes ?? []) {
    relevance.set(node, value);
    labels.set(node, label);
  }
  for (const answer of answered.attributions) {
    relevance.set(answer.node, answer.relevance);
    for (const part of answer.parts) part.edges.forEach(add);
  }
  const all = [...edges.values()].sort((a, b) => Math.abs(b.weight) - Math.abs(a.weight));
  const scale = largest(all.filter((edge) => !is_score(edge)));
  const score_scale = largest(all.filter(is_score));
  const shown = all.filter((edge) => {
    if (kept.has(edge.writer) && kept.has(edge.reader)) return true;
    if (is_score(edge) && !with_scores) return false;
    return Math.abs(edge.weight) >= threshold * (is_score(edge) ? score_scale : scale);
  });
  const names = new Set([...kept, ...shown.flatMap((edge) => [edge.writer, edge.reader])]);
  const nodes = [...names].map((node) => ({
    node,
    relevance: relevance.get(node) ?? null,
    label: labels.get(node) ?? node,
    pin: pins.get(node) ?? null,
  }));
  return { metric: answered.metric, nodes, edges: shown, n_hidden: all.length - shown.length, scale, score_scale };
}

function largest(edges: readonly Edge[]): number {
  return Math.max(0, ...edges.map((edge) => Math.abs(edge.weight)));
}

/** Thickness of an edge, 0 to 1: by its size among edges of its kind. */
export function edge_share(edge: Edge, graph: ShownGraph): number {
  const scale = is_score(edge) ? graph.score_scale : graph.scale;
  return scale > 0 ? Math.min(1, Math.abs(edge.weight) / scale) : 0;
}
