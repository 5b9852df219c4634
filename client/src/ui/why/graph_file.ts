// A graph as a file: everything that is on the screen, and nothing of the prompt but the tokens that are nodes, unless
// the person asks for the whole text.
import { parse_node } from "../../layout/node_id";
import type { Edge, Metric, ModelInfo } from "../../protocol/generated";
import type { ShownGraph, ShownNode } from "../../store/graph";
import type { TokenChip } from "../../store/types";
import { read_json_file } from "../json_file";

const FORMAT = "livelens-graph";
const VERSION = 1;
const MAX_FILE_CHARS = 20_000_000;
const MAX_ITEMS = 20_000;

export interface FileToken {
  pos: number;
  token_id: number;
  text: string;
}

export type ModelShape = Pick<ModelInfo, "n_layers" | "n_heads" | "d_mlp">;

export interface OpenedGraph {
  file_name: string;
  model_name: string;
  weights_sha256: string;
  /** None in a file that does not say it. */
  shape: ModelShape | null;
  graph: ShownGraph;
  tokens: FileToken[];
}

export class GraphFileError extends Error {
  override readonly name = "GraphFileError";
}

export interface Saved {
  info: ModelInfo;
  graph: ShownGraph;
  tokens: readonly TokenChip[];
  threshold: number;
  with_text: boolean;
}

/** The file's text. */
export function graph_text({ info, graph, tokens, threshold, with_text }: Saved): string {
  const in_graph = new Set(graph.nodes.map(({ node }) => parse_node(node)).filter((place) => place?.kind === "embed")
    .map((place) => place!.pos));
  const shown = tokens.filter((token) => with_text ? token.pos <= graph.metric.pos + 1 : in_graph.has(token.pos));
  const { metric, nodes, edges, n_hidden, scale, score_scale } = graph;
  const file = {
    format: FORMAT, version: VERSION,
    model: {
      model_name: info.model_name, weights_sha256: info.weights_sha256,
      n_layers: info.n_layers, n_heads: info.n_heads, d_mlp: info.d_mlp,
    },
    metric, threshold, nodes, edges, n_hidden, scale, score_scale,
    tokens: shown.map(({ pos, token_id, text }) => ({ pos, token_id, text })),
    ...(with_text ? { text: shown.map((token) => token.text).join("") } : {}),
  };
  return JSON.stringify(file, null, 1);
}

/** The graph in a file's `text`; raises GraphFileError with one sentence on anything that is none. */
export function read_graph(text: string, file_name: string): OpenedGraph {
  const file = read_json_file(text, { format: FORMAT, version: VERSION, max_chars: MAX_FILE_CHARS }, damaged);
  const model = object(file["model"], "model");
  const nodes = list(file["nodes"], "nodes").map(read_node);
  const edges = list(file["edges"], "edges").map(read_edge);
  const known = new Set(nodes.map(({ node }) => node));
  if (edges.some((edge) => !known.has(edge.writer) || !known.has(edge.reader))) throw damaged("an edge has no node");
  const graph: ShownGraph = {
    metric: read_metric(object(file["metric"], "metric")), nodes, edges,
    n_hidden: number(file["n_hidden"], "n_hidden"), scale: number(file["scale"], "scale"),
    score_scale: number(file["score_scale"], "score_scale"),
  };
  return {
    file_name, graph,
    model_name: string(model["model_name"], "model_name"),
    weights_sha256: string(model["weights_sha256"], "weights_sha256"),
    shape: read_shape(model),
    tokens: list(file["tokens"], "tokens").map((entry) => {
      const token = object(entry, "a token");
      return { pos: count(token["pos"], "pos"), token_id: count(token["token_id"], "token_id"), text: string(token["text"], "text") };
    }),
  };
}

/** The first files did not say it. */
function read_shape(model: Fields): ModelShape | null {
  if (model["n_layers"] === undefined) return null;
  return {
    n_layers: count(model["n_layers"], "n_layers"), n_heads: count(model["n_heads"], "n_heads"), d_mlp: count(model["d_mlp"], "d_mlp"),
  };
}

type Fields = Record<string, unknown>;

function damaged(what: string): GraphFileError {
  return new GraphFileError(`This file cannot be opened as a graph: ${what}.`);
}

function object(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw damaged(`${what} is missing`);
  return value as Fields;
}

function list(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value) || value.length > MAX_ITEMS) throw damaged(`${what} is no list, or too long`);
  return value;
}

function string(value: unknown, what: string): string {
  if (typeof value !== "string" || value.length > 2000) throw damaged(`${what} is no text`);
  return value;
}

function number(value: unknown, what: string): number {
  if (typeof value !== "number" || !Number.isFinite(value)) throw damaged(`${what} is no number`);
  return value;
}

function count(value: unknown, what: string): number {
  const read = number(value, what);
  if (!Number.isInteger(read) || read < 0) throw damaged(`${what} is no count`);
  return read;
}

function node_id(value: unknown): string {
  const node = string(value, "a node");
  if (!parse_node(node)) throw damaged("a node has no such name");
  return node;
}

function read_node(value: unknown): ShownNode {
  const node = object(value, "a node");
  const pin = node["pin"] === null || node["pin"] === undefined ? null : object(node["pin"], "a pin");
  return {
    node: node_id(node["node"]),
    relevance: node["relevance"] === null ? null : number(node["relevance"], "relevance"),
    label: string(node["label"], "label"),
    pin: pin && { name: string(pin["name"], "name"), group: string(pin["group"], "group") },
  };
}

function read_edge(value: unknown): Edge {
  const edge = object(value, "an edge");
  const part = edge["part"];
  if (part !== "input" && part !== "value" && part !== "query" && part !== "key") throw damaged("an edge has no part");
  return { writer: node_id(edge["writer"]), reader: node_id(edge["reader"]), part, weight: number(edge["weight"], "weight") };
}

function read_metric(metric: Fields): Metric {
  const has_pair = metric["distractor_id"] !== null;
  return {
    pos: count(metric["pos"], "pos"),
    target_id: count(metric["target_id"], "target_id"),
    target_text: string(metric["target_text"], "target_text"),
    distractor_id: has_pair ? count(metric["distractor_id"], "distractor_id") : null,
    distractor_text: has_pair ? string(metric["distractor_text"], "distractor_text") : null,
    value: number(metric["value"], "value"),
    notice: null,
  };
}
