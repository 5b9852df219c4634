// One cell of the lens grid in words: the five likeliest tokens after that layer, and where the chosen one stands.
import type { JSX } from "preact";
import type { LensAnswer } from "../../protocol/questions";
import type { Slot } from "../../store/inquiry";
import { is_at_rest } from "../../store/rest";
import { number_text, percent_text, token_quote } from "../format";
import { use_page } from "../page";
import { use_missing } from "../parts/asking";
import { ProbBars } from "../drawer/prob_bars";
import type { LensCell } from "./lens_state";
import { use_lens_column } from "./use_lens_column";

interface Props {
  cell: LensCell;
  /** The person points at the cell, or is on it with the keys: then it is asked about whatever the run does. */
  is_looked_at: boolean;
}

export function CellCard({ cell, is_looked_at }: Props): JSX.Element {
  const { store, state } = use_page();
  const missing = use_missing("lens");
  const step = store.history.get(cell.pos);
  const rests = is_at_rest(store.run.value);
  const column = use_lens_column(missing === null && (is_looked_at || rests) ? cell.pos : null, step);
  const has_keys = state.lens.focused.value !== null;
  return (
    <section class="cell-card" tabIndex={0} aria-label="The cell in words" aria-live={has_keys ? "polite" : "off"}>
      <h3>After layer {cell.layer} at {cell.pos} {token_quote(step?.text ?? "")}</h3>
      {missing !== null ? <p class="muted">{missing}</p> : <InWords column={column} layer={cell.layer} />}
    </section>
  );
}

function InWords({ column, layer }: { column: Slot<LensAnswer>; layer: number }): JSX.Element {
  const { answer, error } = column;
  const top = answer?.top[layer];
  if (error) return <p class="muted" role="alert">{error}</p>;
  if (!answer || !top) return <p class="muted">{column.progress ? "Asking for the likeliest five …" : "Point at a cell."}</p>;
  const at = (values: ArrayLike<number>): number | null => values[layer] ?? null;
  return (
    <>
      <p class="cell-facts">
        {token_quote(answer.target_text)} rank <b>{number_text((at(answer.rank.values) ?? NaN) + 1, 6)}</b> ·{" "}
        {percent_text(Math.exp(at(answer.logprob.values) ?? NaN))} · entropy {number_text(at(answer.entropy.values))} nat
      </p>
      <ProbBars tokens={top} chosen_id={answer.target_id} />
    </>
  );
}
