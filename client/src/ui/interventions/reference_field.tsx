// Where a mean or another value is taken from: the run's own prompt, another text, another run of this page.
import type { JSX } from "preact";
import type { InterventionSpec, Reference } from "../../protocol/generated";
import { use_page } from "../page";

interface Props {
  spec: InterventionSpec;
  edit(reference: Reference): void;
}

export function ReferenceField({ spec, edit }: Props): JSX.Element {
  const { store, state } = use_page();
  const reference = spec.reference ?? {};
  const source = reference.source ?? "prompt";
  const is_mean = spec.operation === "mean";
  const runs = state.interventions.runs.value.filter((run) => run.run_id !== store.run.value?.run_id);
  const choose = (next: string): void => {
    const kept: Reference = is_mean ? { pooled: reference.pooled ?? true } : { pos: reference.pos ?? null };
    if (next === "text") edit({ ...kept, source: "text", texts: reference.texts?.length ? reference.texts : [""] });
    else if (next === "prompt") edit({ ...kept, source: "prompt" });
    else edit({ ...kept, source: "run", run_id: next });
  };
  return (
    <>
      <label class="field-row">
        <span>{is_mean ? "Over" : "From"}</span>
        <select value={source === "run" ? (reference.run_id ?? "") : source} aria-label="Reference"
          onChange={(event) => choose(event.currentTarget.value)}>
          <option value="prompt">this run's prompt, untouched</option>
          <option value="text">{is_mean ? "other texts" : "another text"}</option>
          {runs.map((run) => <option key={run.run_id} value={run.run_id}>run “{run.prompt.slice(0, 30)}”</option>)}
        </select>
      </label>
      {source === "text" && (
        <textarea class="reference-text" rows={2} aria-label={is_mean ? "Reference texts, one a line" : "Reference text"}
          placeholder={is_mean ? "One text a line" : "The other text"} value={(reference.texts ?? []).join("\n")}
          onChange={(event) => {
            const written = event.currentTarget.value;
            const texts = is_mean ? written.split("\n").filter((line) => line.trim() !== "") : [written];
            edit({ ...reference, source: "text", texts });
          }} />
      )}
      {is_mean ? (
        <label class="check">
          <input type="checkbox" checked={reference.pooled === false}
            onChange={(event) => edit({ ...reference, pooled: !event.currentTarget.checked })} />
          position by position
        </label>
      ) : (
        <label class="field-row">
          <span>at position</span>
          <input type="number" class="pos-field" min={0} step={1} placeholder="same" value={reference.pos ?? ""}
            aria-label="Position to take; empty: the same one" onChange={(event) => {
              const text = event.currentTarget.value.trim();
              edit({ ...reference, pos: /^\d{1,9}$/.test(text) ? Number(text) : null });
            }} />
        </label>
      )}
    </>
  );
}
