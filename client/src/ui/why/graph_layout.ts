// A graph on a flat page: tokens from left to right, layers from the bottom up, the logit on top.
import { is_input, parse_node } from "../../layout/node_id";
import { edge_share, type ShownGraph, type ShownNode } from "../../store/graph";

export interface PlacedNode {
  shown: ShownNode;
  x: number;
  y: number;
  label: string;
}

export interface PlacedEdge {
  path: string;
  width: number;
  is_negative: boolean;
  is_score: boolean;
  title: string;
}

export interface GraphPicture {
  width: number;
  height: number;
  nodes: PlacedNode[];
  edges: PlacedEdge[];
  columns: { x: number; label: string }[];
}

export const NODE_WIDTH = 74;
export const NODE_HEIGHT = 18;
const ROW = 40;
const GAP = 10;
const MARGIN = 14;
const FOOT = 26;

/** Where everything lies; `label_of` names a node, `token_of` a position. */
export function lay_graph(
  graph: ShownGraph,
  label_of: (node: ShownNode) => string,
  token_of: (pos: number) => string,
): GraphPicture {
  const places = graph.nodes.map((shown) => ({ shown, place: parse_node(shown.node)! }));
  const row_of = ({ place }: (typeof places)[number]): number =>
    place.kind === "logit" ? Infinity : is_input(place) || place.kind === "bias" ? -1
      : 2 * place.layer + (place.kind === "head" || place.kind === "attn" || place.kind === "attn_bias" ? 0 : 1);
  const rows = [...new Set(places.map(row_of))].sort((a, b) => a - b);
  const order_of = new Map(rows.map((row, r) => [row, r]));
  const positions = [...new Set(places.map(({ place }) => place.pos))].sort((a, b) => a - b);
  const cells_at = new Map(positions.map((pos) => [pos, new Map<number, ShownNode[]>()]));
  for (const one of places) {
    const cells = cells_at.get(one.place.pos)!;
    const cell = cells.get(row_of(one));
    if (cell) cell.push(one.shown);
    else cells.set(row_of(one), [one.shown]);
  }
  const height = 2 * MARGIN + NODE_HEIGHT + (rows.length - 1) * ROW + FOOT;
  const placed = new Map<string, PlacedNode>();
  const columns: GraphPicture["columns"] = [];
  let left = MARGIN;
  cells_at.forEach((cells, pos) => {
    // A column is as wide as its fullest row.
    const width = [...cells.values()].reduce((most, cell) => Math.max(most, cell.length), 0) * (NODE_WIDTH + GAP);
    columns.push({ x: left + width / 2, label: token_of(pos) });
    cells.forEach((cell, row) => {
      const from = left + (width - cell.length * (NODE_WIDTH + GAP)) / 2;
      cell.forEach((shown, k) => {
        const x = from + k * (NODE_WIDTH + GAP) + (NODE_WIDTH + GAP) / 2;
        const y = height - FOOT - MARGIN - NODE_HEIGHT / 2 - order_of.get(row)! * ROW;
        placed.set(shown.node, { shown, x, y, label: label_of(shown) });
      });
    });
    left += width + GAP;
  });
  return { width: left + MARGIN, height, nodes: [...placed.values()], edges: lay_edges(graph, placed), columns };
}

function lay_edges(graph: ShownGraph, placed: ReadonlyMap<string, PlacedNode>): PlacedEdge[] {
  const edges: PlacedEdge[] = [];
  for (const edge of graph.edges) {
    const [from, to] = [placed.get(edge.writer), placed.get(edge.reader)];
    if (!from || !to) continue;
    const [y0, y1] = [from.y - NODE_HEIGHT / 2, to.y + NODE_HEIGHT / 2];
    const bend = Math.max(10, (y0 - y1) * 0.5);
    const round = (value: number): string => value.toFixed(1);
    edges.push({
      path: `M${round(from.x)} ${round(y0)}C${round(from.x)} ${round(y0 - bend)} ${round(to.x)} ${round(y1 + bend)} ${round(to.x)} ${round(y1)}`,
      width: 0.6 + 4.4 * edge_share(edge, graph),
      is_negative: edge.weight < 0,
      is_score: edge.part === "query" || edge.part === "key",
      title: `${edge.writer} → ${edge.reader}, ${edge.part}: ${edge.weight.toPrecision(3)}`,
    });
  }
  return edges.reverse(); // the strongest on top
}
