// The node the walk stands at: where it came from, who fed it and whom it fed, and whether ablating it agrees.
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { can_be_asked, component_of_node, parse_node } from "../../layout/node_id";
import type { AttributionPart, Edge, Metric } from "../../protocol/generated";
import type { Slot } from "../../store/inquiry";
import type { AttributionAnswer } from "../../protocol/questions";
import { count_text, signed_text } from "../format";
import { IconButton } from "../icons";
import { use_page } from "../page";
import { Measure } from "./measure";
import { node_words, PART_WORDS } from "./node_words";
import { PinControls } from "./pin_controls";
import { go } from "./why_actions";

export function NodePanel(): JSX.Element {
  const { store } = use_page();
  const { analysis } = store;
  const node = analysis.walk.node.value;
  const metric = analysis.overview.slot.value.answer?.metric ?? null;
  if (node === null) return <section class="why-node" aria-label="Node" />;
  const slots = analysis.attributions.slots.value;
  const [incoming, outgoing] = [slots.get(`incoming ${node}`), slots.get(`outgoing ${node}`)];
  const relevance = incoming?.answer?.relevance ?? outgoing?.answer?.relevance ?? null;
  const kind = parse_node(node)?.kind;
  return (
    <section class="why-node" aria-label="Node" key={node}>
      <Trail metric={metric} />
      <NodeHead node={node} relevance={relevance} metric={metric} />
      <div class="why-edges">
        {kind !== "embed" && <Direction title="Fed by" slot={incoming} metric={metric} end="writer" />}
        {kind !== "logit" && <Direction title="Fed" slot={outgoing} metric={metric} end="reader" />}
        {!can_be_asked(node) && <p class="muted">A bias is fed by nothing: it is the same for every text.</p>}
      </div>
    </section>
  );
}

function Trail({ metric }: { metric: Metric | null }): JSX.Element {
  const { store } = use_page();
  const { walk } = store.analysis;
  const { nodes, at } = walk.trail.value;
  return (
    <nav class="why-trail" aria-label="Trail">
      <IconButton icon="left" label="Back along the trail" disabled={at <= 0} onClick={() => walk.back()} />
      <IconButton icon="right" label="Forward along the trail" disabled={at >= nodes.length - 1} onClick={() => walk.forward()} />
      <ol>
        {nodes.map((node, i) => {
          const { name, where } = node_words(node, store.tokens.value, metric);
          return (
            <li key={node} data-ahead={i > at || undefined}>
              <button type="button" aria-current={i === at ? "step" : undefined} title={where} onClick={() => walk.go_to(i)}>
                {name}
              </button>
            </li>
          );
        })}
      </ol>
    </nav>
  );
}

function NodeHead({ node, relevance, metric }: { node: string; relevance: number | null; metric: Metric | null }): JSX.Element {
  const { store } = use_page();
  const heading = useRef<HTMLHeadingElement>(null);
  const { name, where } = node_words(node, store.tokens.value, metric);
  // A row that was pressed is gone with its node: the keys go on from here.
  useEffect(() => {
    if (document.activeElement === document.body) heading.current?.focus();
  }, []);
  return (
    <div class="why-node-head">
      <h2 tabIndex={-1} ref={heading} id="why-node-name">{name}</h2>
      <span class="muted">{where}</span>
      {relevance !== null && (
        <span title="Its whole contribution to the metric, through every path, in the frozen model">
          <b data-sign={Math.sign(relevance)} id="why-relevance">{signed_text(relevance)}</b> <span class="muted">logits</span>
        </span>
      )}
      {component_of_node(node) && <Measure node={node} />}
      <PinControls node={node} />
    </div>
  );
}

interface DirectionProps {
  title: string;
  slot: Slot<AttributionAnswer> | undefined;
  metric: Metric | null;
  /** Which end of an edge is the other node. */
  end: "writer" | "reader";
}

function Direction({ title, slot, metric, end }: DirectionProps): JSX.Element {
  if (slot?.error) return <p class="off-mark">{slot.error}</p>;
  if (!slot?.answer) return <p class="muted">{title}: working…</p>;
  return (
    <>
      {slot.answer.parts.map((part, i) => (
        <Part key={i} title={title} part={part} metric={metric} end={end} />
      ))}
      {slot.answer.parts.length === 0 && <p class="muted">{title}: nothing.</p>}
    </>
  );
}

function Part({ title, part, metric, end }: { title: string; part: AttributionPart; metric: Metric | null; end: "writer" | "reader" }): JSX.Element {
  const { store } = use_page();
  const { walk } = store.analysis;
  const shown_sum = part.edges.reduce((sum, edge) => sum + edge.weight, 0);
  const largest = Math.max(...part.edges.map((edge) => Math.abs(edge.weight)), 1e-12);
  const limit = walk.threshold.value * largest;
  const edges = part.edges.filter((edge) => Math.abs(edge.weight) >= limit);
  const name = part.part === "input" ? title : `${title} · ${PART_WORDS[part.part]}`;
  const key = part.key_pos === null ? null : store.tokens.value[part.key_pos];
  // Where strong edges cancel, a share of the sum would say nothing.
  const share = part.value === 0 ? NaN : shown_sum / part.value;
  const share_text = share > 0 && share <= 1.005 ? ` (${Math.round(100 * share)} %)` : "";
  const is_score = part.part === "query" || part.part === "key";
  return (
    <div class="why-part">
      <h3>{name}{key && <> at key {part.key_pos} “{key.text.trim()}”</>}</h3>
      <p class="muted why-sums" title={`Not listed: ${signed_text(part.rest)}, biases: ${signed_text(part.bias)}, error: ${signed_text(part.error)}`}>
        These {count_text(part.edges.length)} of {count_text(part.edges.length + part.n_rest)} edges carry {signed_text(shown_sum)} of{" "}
        {signed_text(part.value)}{share_text}{is_score ? " of the score" : ""}; the rest {signed_text(part.rest)}, biases {signed_text(part.bias)}
      </p>
      <ul class="why-list">
        {edges.map((edge) => <EdgeRow key={`${edge.writer} ${edge.reader}`} edge={edge} end={end} largest={largest} metric={metric} />)}
        {part.neurons.length > 0 && <li class="why-sub muted">strongest neurons, each inside its MLP</li>}
        {part.neurons.slice(0, 12).map((edge) => (
          <EdgeRow key={`n ${edge.writer} ${edge.reader}`} edge={edge} end={end} largest={largest} metric={metric} />
        ))}
      </ul>
    </div>
  );
}

function EdgeRow({ edge, end, largest, metric }: { edge: Edge; end: "writer" | "reader"; largest: number; metric: Metric | null }): JSX.Element {
  const page = use_page();
  const node = edge[end];
  const { name, where } = node_words(node, page.store.tokens.value, metric);
  return (
    <li>
      <button type="button" class="why-row" data-node={node} onClick={() => go(page, node)}
        onMouseEnter={() => (page.store.hovered.value = component_of_node(node))}
        onMouseLeave={() => (page.store.hovered.value = null)}>
        <i class="why-bar" data-sign={Math.sign(edge.weight)} style={{ width: `${(100 * Math.abs(edge.weight)) / largest}%` }} />
        <span class="why-name">{name}</span>
        <span class="why-where muted">{where}</span>
        <span class="why-number" data-sign={Math.sign(edge.weight)}>{signed_text(edge.weight)}</span>
      </button>
    </li>
  );
}
