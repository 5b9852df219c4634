// The lens of each head: what it alone adds to the logits at the shown token, in words, and to the chosen token's.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { component_id } from "../../layout/component_id";
import type { Component } from "../../protocol/generated";
import type { HeadLensAnswer } from "../../protocol/questions";
import { same_component } from "../../store/types";
import { number_text, percent_text, signed_text, token_quote } from "../format";
import { use_page } from "../page";
import { use_missing } from "../parts/asking";
import { HeatGrid, type GridCell } from "../parts/heat_grid";
import { MeasuredTable } from "../parts/measured_table";
import { largest_size } from "../parts/paint";
import { TokenWords } from "../parts/token_words";
import { use_profile } from "../parts/use_profile";
import type { Shown } from "../shown_step";
import { component_at, grid_values, sums_of, writes_of, type HeadWrite } from "./head_lens_rows";
import { LensPlace, NoLens } from "./lens_place";
import type { HeadLensColour } from "./lens_state";

export function HeadLens({ shown }: { shown: Shown }): JSX.Element {
  const missing = use_missing("head_lens");
  const { pos, step } = shown.step.value;
  if (missing !== null) return <NoLens why={`No lens of heads: ${missing}`} />;
  if (!step) return <NoLens why="Run a prompt: what each head writes appears here." />;
  return <AskedHeads pos={pos} />;
}

function AskedHeads({ pos }: { pos: number }): JSX.Element {
  const { state } = use_page();
  const { head_colour } = state.lens;
  const profile = use_profile({ type: "request_head_lens", pos, target: null, n_tokens: 5 } as const);
  const colour_choice = (
    <label class="lens-choice">
      <span>Colour by</span>
      <select value={head_colour.value}
        onChange={(event) => (head_colour.value = event.currentTarget.value as HeadLensColour)}>
        <option value="direct">what it adds to the token’s logit</option>
        <option value="rank">the token’s rank in what it promotes</option>
      </select>
    </label>
  );
  return (
    <LensPlace profile={profile} label="Lens of heads" tools={colour_choice}>
      {(answer) => <Answered answer={answer} />}
    </LensPlace>
  );
}

function Answered({ answer }: { answer: HeadLensAnswer }): JSX.Element {
  const { store, state, actions } = use_page();
  const hovered = useSignal<GridCell | null>(null);
  const writes = useMemo(() => writes_of(answer), [answer]);
  const colour = state.lens.head_colour.value;
  const d_vocab = store.model_info.value?.d_vocab ?? 2;
  const values = useMemo(() => grid_values(answer, colour, d_vocab), [answer, colour, d_vocab]);
  const [n_layers = 0, n_heads = 0] = answer.direct_heads.shape;
  const selection = store.selection.value;
  const at = hovered.value && component_at(hovered.value, n_heads);
  const looked_at = at ?? selection;
  const write = writes.find((one) => same_component(one.component, looked_at)) ?? writes[0];
  const selected = selection && cell_of(selection, n_heads);
  const scale = colour === "direct" ? largest_size(values) : 1;
  return (
    <div class="lens-body">
      <div class="lens-grids">
        <HeatGrid title={colour === "direct"
          ? `Added to the logit of ${token_quote(answer.target_text)} at ${answer.pos}: a row a head, the last row the MLP`
          : `Nearer to the top of what each promotes: ${token_quote(answer.target_text)}; a row a head, the last row the MLP`}
          label={`${n_layers * (n_heads + 1)} parts; the table beside has every number`} n_rows={n_heads + 1} n_columns={n_layers}
          values={values} scale={scale} colours={colour === "direct" ? "signed" : "size"} hovered={hovered}
          selected={selected} on_pick={(cell) => actions.select(component_at(cell, n_heads))} />
        <p class="muted heat-legend">
          {colour === "direct"
            ? <><i class="heat-ramp" aria-hidden="true" /> −{number_text(scale)} to +{number_text(scale)} logits above the mean of all</>
            : `Strongest: ${token_quote(answer.target_text)} is what it promotes most; faintest: it is what it lowers most.`}
        </p>
        {write && <WriteCard write={write} target={answer.target_text} />}
        <Sums answer={answer} />
      </div>
      <WriteTable writes={writes} answer={answer} />
    </div>
  );
}

function cell_of(component: Component, n_heads: number): GridCell | null {
  if (component.kind === "head") return { row: component.index, column: component.layer };
  return component.kind === "mlp" ? { row: n_heads, column: component.layer } : null;
}

function WriteCard({ write, target }: { write: HeadWrite; target: string }): JSX.Element {
  return (
    <div class="write-card">
      <p><b>{component_id(write.component)}</b> adds {signed_text(write.direct)} to {token_quote(target)}, which ranks{" "}
        {number_text(write.rank + 1, 6)} in what it promotes</p>
      <TokenWords label="promotes" tokens={write.promoted} />
    </div>
  );
}

/** Everything that was added, so that nothing is hidden. */
function Sums({ answer }: { answer: HeadLensAnswer }): JSX.Element {
  const sums = sums_of(answer);
  return (
    <p class="muted lens-sums">
      Heads {signed_text(sums.heads)}, MLPs {signed_text(sums.mlps)}, embedding {signed_text(answer.embed)}, biases{" "}
      {signed_text(sums.biases)}: together {signed_text(sums.all)}, of {signed_text(answer.total)} that the logit of{" "}
      {token_quote(answer.target_text)} stands above the mean
      {answer.total !== 0 && ` (${percent_text(sums.all / answer.total)})`}.
    </p>
  );
}

function WriteTable({ writes, answer }: { writes: readonly HeadWrite[]; answer: HeadLensAnswer }): JSX.Element {
  return (
    <MeasuredTable class="lens-writes" rows={writes} component_of={(write) => write.component} rest_word="weaker"
      head={
        <>
          <th scope="col">Part</th>
          <th scope="col" title="Added to its logit, above the mean of all logits">Adds to {token_quote(answer.target_text)}</th>
          <th scope="col" title="1: it is what the part promotes most">Its rank</th>
          <th scope="col" class="left">Promotes</th>
        </>
      }
      cells={(write) => (
        <>
          <td class="number" data-sign={Math.sign(write.direct)}>{signed_text(write.direct)}</td>
          <td class="number">{number_text(write.rank + 1, 6)}</td>
          <td class="left tokens">{write.promoted.map((token) => token_quote(token.text)).join(" ")}</td>
        </>
      )} />
  );
}
