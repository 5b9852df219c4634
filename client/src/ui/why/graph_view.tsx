// The shown paths on a flat page: what is exported as a picture, and how a graph from a file is seen.
import type { JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { edge_share, type ShownNode } from "../../store/graph";
import type { TokenChip } from "../../store/types";
import { count_text, signed_text, word_label } from "../format";
import { use_page } from "../page";
import { lay_graph, NODE_HEIGHT, NODE_WIDTH, type PlacedNode } from "./graph_layout";
import { node_words } from "./node_words";
import { go } from "./why_actions";

export function GraphView(): JSX.Element {
  const page = use_page();
  const { store } = page;
  const opened = page.state.why.opened.value;
  const graph = opened?.graph ?? store.analysis.walk.graph.value;
  const here = store.analysis.walk.node.value;
  const tokens = opened ? null : store.tokens.value;
  const picture = useMemo(() => {
    if (!graph) return null;
    const texts = new Map(opened?.tokens.map((token) => [token.pos, token.text]));
    const chips = tokens ?? sparse_chips(texts);
    return lay_graph(graph, (node) => label_of(node, chips, graph.metric.target_text), (pos) => {
      const text = tokens ? tokens[pos]?.text : texts.get(pos);
      return text === undefined ? String(pos) : `${pos} ${word_label(text)}`;
    });
  }, [graph, tokens, opened]);
  useEffect(() => {
    const at = document.querySelector("#why-graph [data-here]") ?? document.querySelector("#why-graph .graph-node");
    at?.scrollIntoView({ block: "nearest", inline: "center" });
  }, [here, picture !== null]);
  if (!graph || !picture) return <p class="muted">No graph yet: press “Strongest paths”, or walk from node to node.</p>;
  const strong = graph.edges.filter((edge) => edge_share(edge, graph) >= 0.5).length;
  return (
    <>
      <p class="muted why-sums">
        {count_text(graph.nodes.length)} nodes, {count_text(graph.edges.length)} edges
        {graph.n_hidden > 0 && `, ${count_text(graph.n_hidden)} weaker ones hidden`}
        {!opened && <PathsShown />}{strong > 0 && ` · ${strong} at least half as strong as the strongest`}
      </p>
      <svg id="why-graph" class="why-graph" viewBox={`0 0 ${picture.width} ${picture.height}`} width={picture.width} height={picture.height}
        role="group" aria-label="Attribution graph">
        {picture.columns.map((column) => (
          <text key={column.x} class="column" x={column.x} y={picture.height - 8} text-anchor="middle">{column.label}</text>
        ))}
        {picture.edges.map((edge, i) => (
          <path key={i} class="edge" d={edge.path} fill="none" stroke-width={edge.width.toFixed(2)}
            data-negative={edge.is_negative || undefined} stroke-dasharray={edge.is_score ? "4 3" : undefined}><title>{edge.title}</title></path>
        ))}
        {picture.nodes.map((node) => (
          <GraphNode key={node.shown.node} node={node} is_here={!opened && node.shown.node === here}
            on_choose={() => opened || go(page, node.shown.node)} />
        ))}
      </svg>
    </>
  );
}

function GraphNode({ node: { shown, x, y, label }, is_here, on_choose }: {
  node: PlacedNode; is_here: boolean; on_choose: () => void;
}): JSX.Element {
  return (
    <g class="graph-node" tabIndex={0} role="button" aria-label={`${shown.node}, ${signed_text(shown.relevance)}`}
      data-here={is_here || undefined} data-pinned={shown.pin ? true : undefined}
      onClick={on_choose} onKeyDown={(event) => {
        if (event.key !== "Enter" && event.key !== " ") return;
        event.preventDefault(); // Space would pause the run
        on_choose();
      }}>
      <rect x={x - NODE_WIDTH / 2} y={y - NODE_HEIGHT / 2} width={NODE_WIDTH} height={NODE_HEIGHT} rx={4} />
      <text x={x} y={y + 4} text-anchor="middle">{label}</text>
      <title>{shown.node}{shown.pin?.group ? ` · ${shown.pin.group}` : ""}: {signed_text(shown.relevance)} logits</title>
    </g>
  );
}

function PathsShown(): JSX.Element | null {
  const paths = use_page().store.analysis.paths.slot.value.answer;
  return paths ? <> · the strongest paths carry {(100 * paths.shown).toFixed(0)} % of all that flows</> : null;
}

function label_of(node: ShownNode, chips: readonly TokenChip[], target: string): string {
  const named = node.pin?.name;
  const text = named || (node.node.startsWith("logit@") ? target : node_words(node.node, chips, null).name);
  const with_group = node.pin?.group ? `${node.pin.group}: ${text}` : text;
  return with_group.length > 12 ? `${with_group.slice(0, 11)}…` : with_group;
}

function sparse_chips(texts: ReadonlyMap<number, string>): TokenChip[] {
  const chips: TokenChip[] = [];
  for (const [pos, text] of texts) chips[pos] = { pos, token_id: 0, text, generated: false, logprob: null, entropy: null };
  return chips;
}
