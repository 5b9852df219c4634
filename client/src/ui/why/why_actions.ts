// What a person does when they ask why: each of these asks the server, or walks on.
import { component_id } from "../../layout/component_id";
import { can_be_asked, component_of_node, parse_node } from "../../layout/node_id";
import type { Component, MetricQuestion } from "../../protocol/generated";
import type { Page } from "../page";

const N_EDGES = 60;
const N_NEURONS = 200;
const N_PATH_NODES = 60;

/** The question for the token chosen after `pos`, with what the person wrote: an empty field is the default. */
export function question_of(pos: number, target: string, distractor: string, against_mean: boolean): MetricQuestion {
  return {
    pos,
    target: target === "" ? null : target,
    distractor: distractor === "" || against_mean ? null : distractor,
    against_mean,
  };
}

/** Explain `question`: its direct effects, and who fed the logit. */
export function explain(page: Page, question: MetricQuestion): void {
  const { analysis } = page.store;
  analysis.explain(question);
  if (analysis.overview.slot.peek().answer || analysis.overview.slot.peek().progress) return;
  void analysis.overview.ask(page.actions.ask, { type: "request_overview", metric: question, n_neurons: N_NEURONS });
}

/** Ask who fed `node` and whom it fed, where that is not known yet. */
export function ask_node(page: Page, node: string): void {
  const { analysis } = page.store;
  const metric = analysis.question.peek();
  const kind = parse_node(node)?.kind;
  if (!metric || !can_be_asked(node)) return;
  const ask = (direction: "incoming" | "outgoing"): void => {
    const key = `${direction} ${node}`;
    const slot = analysis.attributions.slots.peek().get(key);
    if (slot?.answer || slot?.progress) return;
    void analysis.attributions.ask(key, page.actions.ask, {
      type: "request_attribution", metric, node, direction, key_pos: null, n_edges: N_EDGES,
    });
  };
  // Who walks on does not wait for what they left.
  analysis.attributions.keep_only(new Set([`incoming ${node}`, `outgoing ${node}`]));
  if (kind !== "embed") ask("incoming");
  if (kind !== "logit") ask("outgoing");
}

/** Walk on to `node`; the picture and the inspector select its component. */
export function go(page: Page, node: string): void {
  page.store.analysis.walk.go(node);
  show_node(page);
}

/** Select the component of the node that the walk stands at, and say where that is. */
export function show_node(page: Page): void {
  const node = page.store.analysis.walk.node.peek();
  if (node === null) return;
  const component = component_of_node(node);
  if (component) page.actions.select(component);
  page.state.announcement.value = `At ${node}`;
  ask_node(page, node);
}

export function ask_paths(page: Page): void {
  const { analysis } = page.store;
  const metric = analysis.question.peek();
  if (!metric) return;
  const threshold = Math.min(0.2, Math.max(0.002, analysis.walk.threshold.peek() / 5));
  void analysis.paths.ask(page.actions.ask, { type: "request_paths", metric, n_nodes: N_PATH_NODES, threshold });
}

/** How a component is measured: at the question's own token, or where the node lies earlier, at every token up to it. */
export function measure_key(component: Component, everywhere: boolean): string {
  return everywhere ? `${component_id(component)} everywhere` : component_id(component);
}

/** Ablate the component of `node`, run, compare. */
export function measure(page: Page, node: string): void {
  const { analysis } = page.store;
  const metric = analysis.question.peek();
  const component = component_of_node(node);
  const place = parse_node(node);
  if (!metric || !component || !place) return;
  const everywhere = place.pos !== metric.pos;
  void analysis.measured.ask(measure_key(component, everywhere), page.actions.ask, {
    type: "request_effects", metric, scope: "listed", components: [component], ablation: "zero", everywhere, n_neurons: 1,
  });
}
