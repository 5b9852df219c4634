// Everything that writes straight to the logits, strongest first; the sums say how much is shown.
import { useMemo } from "preact/hooks";
import type { JSX } from "preact";
import { component_id } from "../../layout/component_id";
import { node_of } from "../../layout/node_id";
import type { Component } from "../../protocol/generated";
import type { OverviewAnswer } from "../../protocol/questions";
import { count_text, percent_text, signed_text } from "../format";
import { use_page } from "../page";
import { Measure } from "./measure";
import { go } from "./why_actions";

const MAX_ROWS = 120;

export interface Contribution {
  name: string;
  node: string | null;
  component: Component | null;
  value: number;
  /** A neuron's is a part of its MLP's: not counted in the sum. */
  is_inside: boolean;
}

export interface ContributionSums {
  heads: number;
  mlps: number;
  biases: number;
  embed: number;
  all: number;
}

/** All direct terms of `overview`, largest first. */
export function contributions_of(overview: OverviewAnswer): Contribution[] {
  const { pos } = overview.metric;
  const list: Contribution[] = [];
  const add = (component: Component, value: number, is_inside: boolean): void => {
    list.push({ name: component_id(component), node: node_of(component, pos), component, value, is_inside });
  };
  const n_heads = overview.direct_heads.shape[1] ?? 1;
  overview.direct_heads.values.forEach((value, i) =>
    add({ kind: "head", layer: Math.floor(i / n_heads), index: i % n_heads }, value, false));
  overview.direct_mlps.values.forEach((value, layer) => add({ kind: "mlp", layer, index: 0 }, value, false));
  overview.neurons.forEach((component, i) => add(component, overview.neuron_values.values[i] ?? 0, true));
  list.push({ name: "Embedding", node: `embed@${pos}`, component: null, value: overview.embed, is_inside: false });
  const biases = sums_of(overview).biases;
  list.push({ name: "Biases", node: null, component: null, value: biases, is_inside: false });
  return list.sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
}

export function sums_of(overview: OverviewAnswer): ContributionSums {
  const sum = (values: ArrayLike<number>): number => Array.from(values).reduce((total, value) => total + value, 0);
  const [heads, mlps] = [sum(overview.direct_heads.values), sum(overview.direct_mlps.values)];
  const biases = sum(overview.direct_bias.values) + overview.final_bias;
  return { heads, mlps, biases, embed: overview.embed, all: heads + mlps + biases + overview.embed };
}

export function Contributions({ overview }: { overview: OverviewAnswer }): JSX.Element {
  const list = useMemo(() => contributions_of(overview), [overview]);
  const sums = useMemo(() => sums_of(overview), [overview]);
  const largest = Math.max(Math.abs(list[0]?.value ?? 0), 1e-12);
  return (
    <>
      <p class="muted why-sums">
        Heads {signed_text(sums.heads)} · MLPs {signed_text(sums.mlps)} · embedding {signed_text(sums.embed)} · biases{" "}
        {signed_text(sums.biases)} = <b id="direct-sum">{signed_text(sums.all, 4)}</b> of {signed_text(overview.metric.value, 4)},{" "}
        {percent_text(overview.shown)} shown
      </p>
      <ol class="why-list">
        {list.slice(0, MAX_ROWS).map((item) => <Row key={item.name} item={item} largest={largest} />)}
      </ol>
      {list.length > MAX_ROWS && <p class="muted">{count_text(list.length - MAX_ROWS)} weaker ones are not listed.</p>}
    </>
  );
}

function Row({ item, largest }: { item: Contribution; largest: number }): JSX.Element {
  const page = use_page();
  const { node, component, value } = item;
  return (
    <li class="why-with-tool">
      <button type="button" class="why-row" disabled={node === null} data-node={node ?? undefined}
        onClick={() => node !== null && go(page, node)}
        onMouseEnter={() => (page.store.hovered.value = component)} onMouseLeave={() => (page.store.hovered.value = null)}>
        <i class="why-bar" data-sign={Math.sign(value)} style={{ width: `${(100 * Math.abs(value)) / largest}%` }} />
        <span class="why-name">{item.name}</span>
        <span class="why-where muted">{item.is_inside ? "inside its MLP" : ""}</span>
        <span class="why-number" data-sign={Math.sign(value)}>{signed_text(value)}</span>
      </button>
      {component && node && <Measure node={node} compact />}
    </li>
  );
}
