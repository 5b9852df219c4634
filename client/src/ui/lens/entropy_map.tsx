// How widely each head looks from the shown token: the entropy of its attention row, exact, a cell a head.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { component_id } from "../../layout/component_id";
import type { Component } from "../../protocol/generated";
import type { AttentionEntropyAnswer } from "../../protocol/questions";
import { same_component } from "../../store/types";
import { number_text, percent_text, token_quote } from "../format";
import { use_page } from "../page";
import { use_missing } from "../parts/asking";
import { HeatGrid, type GridCell } from "../parts/heat_grid";
import { MeasuredTable } from "../parts/measured_table";
import { use_profile } from "../parts/use_profile";
import type { Shown } from "../shown_step";
import { looks_of, type HeadLook } from "./entropy_rows";
import { LensPlace, NoLens } from "./lens_place";

export function EntropyMap({ shown }: { shown: Shown }): JSX.Element {
  const missing = use_missing("attention_entropy");
  const { pos, step } = shown.step.value;
  if (missing !== null) return <NoLens why={`No attention here: ${missing}`} />;
  if (!step) return <NoLens why="Run a prompt: how widely each head looks appears here." />;
  return <AskedLooks pos={pos} />;
}

function AskedLooks({ pos }: { pos: number }): JSX.Element {
  const profile = use_profile({ type: "request_attention_entropy", pos } as const);
  return <LensPlace profile={profile} label="Entropy of looks">{(answer) => <Answered answer={answer} />}</LensPlace>;
}

function Answered({ answer }: { answer: AttentionEntropyAnswer }): JSX.Element {
  const { store, actions } = use_page();
  const hovered = useSignal<GridCell | null>(null);
  const [n_layers = 0, n_heads = 0] = answer.entropy.shape;
  const most = Math.log(answer.pos + 1);
  const values = useMemo(() => {
    const grid = new Float32Array(n_heads * n_layers);
    for (let layer = 0; layer < n_layers; layer++) {
      for (let head = 0; head < n_heads; head++) grid[head * n_layers + layer] = answer.entropy.values[layer * n_heads + head]!;
    }
    return grid;
  }, [answer]);
  const looks = useMemo(() => looks_of(answer), [answer]);
  const selection = store.selection.value;
  const cell = hovered.value;
  const head: Component | null = cell ? { kind: "head", layer: cell.column, index: cell.row } : selection;
  const look = looks.find((one) => same_component(one.head, head)) ?? null;
  const text = token_quote(store.tokens.value[answer.pos]?.text ?? "");
  return (
    <div class="lens-body">
      <div class="lens-grids">
        <HeatGrid title={`Entropy of each head’s row at ${answer.pos} ${text}: a row a head`}
          label={`Entropy of ${n_layers * n_heads} heads; the table beside has every number`} n_rows={n_heads}
          n_columns={n_layers} values={values} scale={Math.max(most, 1e-6)} colours="size" hovered={hovered}
          selected={selection?.kind === "head" ? { row: selection.index, column: selection.layer } : null}
          on_pick={(picked) => actions.select({ kind: "head", layer: picked.column, index: picked.row })} />
        <p class="muted heat-legend">Faintest: 0, one token only. Strongest: {number_text(most)} nat = ln({answer.pos + 1}), all tokens alike.</p>
        <LookReading look={look} most={most} />
      </div>
      <LookTable looks={looks} />
    </div>
  );
}

function LookReading({ look, most }: { look: HeadLook | null; most: number }): JSX.Element {
  const { store, state, actions } = use_page();
  if (!look) return <p class="muted heat-reading">Point at a cell for its numbers; a click selects the head.</p>;
  const id = component_id(look.head);
  return (
    <div class="write-card">
      <p>
        <b>{id}</b> {number_text(look.entropy)} of at most {number_text(most)} nat: as wide as a look
        at {number_text(Math.exp(look.entropy), 3)} tokens alike; most at {look.top_key}{" "}
        {token_quote(store.tokens.value[look.top_key]?.text ?? "")} with {percent_text(look.top_weight)}
      </p>
      <button type="button" class="button small" onClick={() => {
        actions.select(look.head);
        state.parts.profile_open.value = true;
      }}>{id} over the whole text</button>
    </div>
  );
}

function LookTable({ looks }: { looks: readonly HeadLook[] }): JSX.Element {
  const { store } = use_page();
  const widest_first = useSignal(false);
  const text = (pos: number): string => `${pos} ${token_quote(store.tokens.value[pos]?.text ?? "")}`;
  return (
    <MeasuredTable class="lens-writes" rows={widest_first.value ? [...looks].reverse() : looks}
      component_of={(look) => look.head} rest_word="more"
      head={
        <>
          <th scope="col">Head</th>
          <th scope="col" aria-sort={widest_first.value ? "descending" : "ascending"}>
            <button type="button" class="link" onClick={() => (widest_first.value = !widest_first.value)}>
              Entropy, nat {widest_first.value ? "▼" : "▲"}
            </button>
          </th>
          <th scope="col" title="e to the entropy">As many tokens</th>
          <th scope="col" class="left">Looks most at</th>
        </>
      }
      cells={(look) => (
        <>
          <td class="number">{number_text(look.entropy)}</td>
          <td class="number">{number_text(Math.exp(look.entropy), 2)}</td>
          <td class="left tokens">{text(look.top_key)} {percent_text(look.top_weight)}</td>
        </>
      )} />
  );
}
