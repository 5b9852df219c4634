// The text that the picture is of: the run's, or that of a graph from a file, of which nothing but paths is known.
import { parse_node } from "../layout/node_id";
import type { ShownGraph } from "./graph";
import { History } from "./history";
import { no_values } from "./signed_values";
import type { Store } from "./store";
import type { StepRecord, TokenChip } from "./types";

export interface DrawnText {
  history: History;
  tokens: readonly TokenChip[];
  current_pos: number;
}

/** A graph from a file with its text as far as the file has it: steps without values, tokens that may be missing. */
export interface FileGraph extends DrawnText {
  graph: ShownGraph;
}

/** What is drawn: a file's graph only while "why" is looked at, as the run's own paths. */
export function drawn_text(store: Store): DrawnText {
  return drawn_file(store) ?? { history: store.history, tokens: store.tokens.value, current_pos: store.current_pos.value };
}

export function drawn_file(store: Store): FileGraph | null {
  const { walk } = store.analysis;
  return walk.is_open.value ? walk.from_file.value : null;
}

const NOT_IN_FILE = no_values("value", {
  title: "A graph from a file", unit: "",
  note: "Its paths and its tokens. What the components did in its run is not in the file.",
});
/** Stands for a token whose text the file does not have. */
const UNKNOWN_TOKEN = "\u00b7";

/** The last token that a graph is about. */
export function last_pos({ nodes, metric }: ShownGraph): number {
  return nodes.reduce((last, { node }) => Math.max(last, parse_node(node)?.pos ?? 0), metric.pos);
}

export function file_graph(graph: ShownGraph, texts: ReadonlyMap<number, string>): FileGraph {
  const current_pos = last_pos(graph);
  const tokens = Array.from({ length: current_pos + 1 }, (_, pos): TokenChip => ({
    pos, token_id: 0, text: texts.get(pos) ?? UNKNOWN_TOKEN, generated: false, logprob: null, entropy: null,
  }));
  const history = new History();
  for (const { pos, text } of tokens) history.put(empty_step(pos, text));
  return { graph, history, tokens, current_pos };
}

function empty_step(pos: number, text: string): StepRecord {
  return {
    pos, seq: 0, token_id: 0, text, chosen_id: null, chosen_text: null, generated: false, top_tokens: [], logprob: null,
    entropy: null, revision: 0, tensors: {}, lens_texts: null, direct_target_id: null, direct_distractor_id: null,
    detail_dropped: false, signed: NOT_IN_FILE,
  };
}
