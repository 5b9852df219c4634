// The logit lens: what the model would say if it stopped after each layer, for the shown token in numbers and
// for the tokens around it as a grid.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import type { ModelInfo } from "../protocol/generated";
import type { StepRecord } from "../store/types";
import { number_text, percent_text, token_label } from "./format";
import { use_page } from "./page";
import type { Shown } from "./shown_step";

const CELL_PX = 84;
const NUMBERS_PX = 400;

export function LensTable({ shown }: { shown: Shown }): JSX.Element {
  const { store } = use_page();
  const place = useRef<HTMLDivElement>(null);
  const n_columns = useSignal(8);
  useEffect(() => {
    const element = place.current;
    if (!element || typeof ResizeObserver === "undefined") return undefined;
    const fit = (): void => {
      n_columns.value = Math.max(1, Math.floor((element.clientWidth - NUMBERS_PX) / CELL_PX));
    };
    const watcher = new ResizeObserver(fit);
    watcher.observe(element);
    return () => watcher.disconnect();
  }, []);
  const info = store.model_info.value;
  const missing = info?.capabilities.missing.find((item) => item.channel === "logit_lens");
  return (
    <div class="lens-place" ref={place} tabIndex={0} role="region" aria-label="Logit lens by layer and token">
      {missing && <p class="muted pad">This model has no logit lens: {missing.reason}</p>}
      {info && !missing && <LensPending shown={shown} />}
      {info && !missing && <LensGrid info={info} shown={shown} n_columns={n_columns.value} />}
    </div>
  );
}

/** Prompt tokens come without their lens, which is computed in idle time: said, rather than shown as dashes. */
function LensPending({ shown }: { shown: Shown }): JSX.Element | null {
  const { store } = use_page();
  const { pos, step } = shown.step.value;
  if (!step || step.tensors.lens_prob) return null;
  const is_prompt = pos < (store.run.value?.n_prompt_tokens ?? 0);
  return (
    <p class="muted lens-pending" role="status">
      {is_prompt ? "The lens of a prompt token is computed while the run rests: paused or ended. None has come for this one yet."
        : "No lens was captured at this token."}
    </p>
  );
}

/** Positions of the grid's columns: as many as fit, the shown one among them. */
export function lens_window(pos: number, newest: number, n_columns: number): number[] {
  const last = Math.min(newest, Math.max(pos + Math.floor(n_columns / 3), n_columns - 1));
  const first = Math.max(0, last - n_columns + 1);
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);
}

function LensGrid({ info, shown, n_columns }: { info: ModelInfo; shown: Shown; n_columns: number }): JSX.Element {
  const { store, actions } = use_page();
  const { pos, step } = shown.step.value;
  void shown.version.value; // other columns change without the shown one
  const columns = lens_window(pos, store.history.newest_pos, n_columns).map((at) => ({ at, step: store.history.get(at) }));
  const layers = Array.from({ length: info.n_layers }, (_, i) => info.n_layers - 1 - i);
  if (!step) return <p class="muted pad">Run a prompt: each layer's guess appears here.</p>;
  return (
    <table class="lens-table">
      <thead>
        <tr>
          <th scope="col">Layer</th>
          <th scope="col" class="left">Top token</th>
          <th scope="col">Probability</th>
          <th scope="col" title="1: the layer's top token is the one in fact chosen">Rank of chosen</th>
          <th scope="col">Entropy</th>
          {columns.map(({ at, step: column }) => (
            <th scope="col" key={at} class="column" aria-current={at === pos || undefined}>
              <button type="button" title={`Show position ${at}`} onClick={() => actions.select_pos(at)}>
                {token_label(column?.text ?? "…")}
              </button>
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {layers.map((layer) => (
          <tr key={layer}>
            <th scope="row">L{layer}</th>
            <LensNumbers layer={layer} step={step} />
            {columns.map(({ at, step: column }) => <LensCell key={at} layer={layer} step={column} is_shown={at === pos} />)}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function LensNumbers({ layer, step }: { layer: number; step: StepRecord }): JSX.Element {
  const rank = step.tensors.lens_rank?.values[layer];
  const text = step.lens_texts?.[layer];
  return (
    <>
      <td class="left token">{text === undefined ? "–" : token_label(text)}</td>
      <td class="number">{percent_text(step.tensors.lens_prob?.values[layer])}</td>
      <td class="number">{rank === undefined ? "–" : rank + 1}</td>
      <td class="number">{number_text(step.tensors.lens_entropy?.values[layer])}</td>
    </>
  );
}

function LensCell({ layer, step, is_shown }: { layer: number; step: StepRecord | undefined; is_shown: boolean }): JSX.Element {
  const text = step?.lens_texts?.[layer];
  const prob = step?.tensors.lens_prob?.values[layer] ?? 0;
  const is_chosen = step?.tensors.lens_rank?.values[layer] === 0;
  return (
    <td class="cell" data-shown={is_shown || undefined} data-chosen={is_chosen || undefined}
      style={{ "--tint": `${Math.round(prob * 70)}%` }} title={text === undefined ? undefined : percent_text(prob)}>
      {text === undefined ? "" : token_label(text)}
    </td>
  );
}
