// Where a mean or another value is taken from: the run's own prompt, other texts (typed, or a file's), another run.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import type { InterventionSpec, Reference } from "../../protocol/generated";
import { count_text } from "../format";
import { use_page } from "../page";
import { NumberWritten, TextWritten } from "../written_field";
import { read_text_file, TextFileError } from "./text_file";

/** As many of the page's runs are offered, the newest. */
const MAX_RUNS = 20;

interface Props {
  spec: InterventionSpec;
  /** Told what becomes of the reference as it is, which may be more than was drawn. */
  edit(change: (reference: Reference) => Reference): void;
}

export function ReferenceField({ spec, edit }: Props): JSX.Element {
  const { store } = use_page();
  const reference = spec.reference ?? {};
  const source = reference.source ?? "prompt";
  const is_mean = spec.operation === "mean";
  const runs = [...store.known_runs.value.values()].reverse().filter((run) => run.run_id !== store.run.value?.run_id);
  const choose = (next: string): void => edit((held) => {
    const kept: Reference = is_mean ? { pooled: held.pooled ?? true } : { pos: held.pos ?? null };
    if (next === "text") return { ...kept, source: "text", texts: held.texts?.length ? held.texts : [""] };
    return next === "prompt" ? { ...kept, source: "prompt" } : { ...kept, source: "run", run_id: next };
  });
  return (
    <>
      <label class="field-row">
        <span>{is_mean ? "Over" : "From"}</span>
        <select value={source === "run" ? (reference.run_id ?? "") : source} aria-label="Reference"
          onChange={(event) => choose(event.currentTarget.value)}>
          <option value="prompt">this run's prompt, untouched</option>
          <option value="text">{is_mean ? "other texts, or a file" : "another text, or a file"}</option>
          {runs.slice(0, MAX_RUNS).map(({ run_id, number, prompt }) => (
            <option key={run_id} value={run_id}>run {number}: “{prompt.slice(0, 30)}”</option>
          ))}
        </select>
      </label>
      {source === "text" && <TextFields reference={reference} is_mean={is_mean} edit={edit} />}
      {is_mean ? <MeanFields is_pooled={reference.pooled !== false} edit={edit} /> : (
        <label class="field-row">
          <span>at position</span>
          <NumberWritten class="pos-field" min={0} step={1} placeholder="same" value={reference.pos ?? ""}
            aria-label="Position to take; empty: the same one"
            on_written={(text) => edit((held) => ({ ...held, pos: /^\d{1,9}$/.test(text) ? Number(text) : null }))} />
        </label>
      )}
    </>
  );
}

function MeanFields({ is_pooled, edit }: { is_pooled: boolean; edit: Props["edit"] }): JSX.Element {
  return (
    <>
      <label class="check">
        <input type="checkbox" checked={!is_pooled} onChange={(event) => {
          const pooled = !event.currentTarget.checked;
          edit((held) => ({ ...held, pooled }));
        }} />
        position by position
      </label>
      <p class="muted field-note">
        {is_pooled ? "One mean over all positions, the first included." : "At each position the mean over the texts that reach it; none there: left as it is."}
      </p>
    </>
  );
}

/** A text with line ends is a file's: shown by its beginning, for a field of one text a line would break it up. */
const is_file = (text: string): boolean => text.includes("\n");

function TextFields({ reference, is_mean, edit }: { reference: Reference; is_mean: boolean; edit: Props["edit"] }): JSX.Element {
  const { store } = use_page();
  const problem = useSignal<string | null>(null);
  const texts = reference.texts ?? [];
  const take = async (file: File): Promise<void> => {
    problem.value = null;
    try {
      const text = await read_text_file(file);
      edit((held) => ({ ...held, source: "text", texts: is_mean ? [...(held.texts ?? []), text].filter(Boolean) : [text] }));
    } catch (error) {
      if (!(error instanceof TextFileError)) throw error;
      problem.value = error.message;
    }
  };
  return (
    <>
      {(is_mean || !texts.some(is_file)) && (
        <TextWritten class="reference-text" rows={2} aria-label={is_mean ? "Reference texts, one a line" : "Reference text"}
          placeholder={is_mean ? "One text a line" : "The other text"} value={texts.filter((text) => !is_file(text)).join("\n")}
          on_written={(written) => {
            const typed = is_mean ? written.split("\n").filter((line) => line.trim() !== "") : [written];
            edit((held) => ({ ...held, source: "text", texts: [...(held.texts ?? []).filter(is_file), ...typed] }));
          }} />
      )}
      {texts.filter(is_file).map((text) => (
        <p class="reference-file" key={text}>
          <span class="token">{text.slice(0, 40)}…</span> <span class="muted">{count_text(text.length)} characters</span>
          <button type="button" class="button small" aria-label={`Leave out the text that begins ${text.slice(0, 20)}`}
            onClick={() => edit((held) => ({ ...held, texts: (held.texts ?? []).filter((other) => other !== text) }))}>×</button>
        </p>
      ))}
      <div class="set-row">
        <label class="button small file-button">A text file…
          <input type="file" accept="text/*,.txt,.md" class="visually-hidden" aria-label="Open a text file as the reference"
            onChange={(event) => {
              const file = event.currentTarget.files?.[0];
              event.currentTarget.value = "";
              if (file) void take(file);
            }} />
        </label>
        {store.model_info.value?.capabilities.has_chat_template && (
          <label class="check">
            <input type="checkbox" checked={reference.apply_chat_template === true} onChange={(event) => {
              const apply_chat_template = event.currentTarget.checked;
              edit((held) => ({ ...held, apply_chat_template }));
            }} />
            chat template
          </label>
        )}
      </div>
      {problem.value && <p class="field-problem" role="alert">{problem.value}</p>}
    </>
  );
}
