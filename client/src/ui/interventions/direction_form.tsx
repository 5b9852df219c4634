// What a direction is made of: two lists of prompts, a neuron, a head, a token, or an axis of the stream.
import { useSignal, type Signal } from "@preact/signals";
import type { JSX } from "preact";
import { component_id } from "../../layout/component_id";
import type { DirectionRecipe, ModelInfo } from "../../protocol/generated";
import { Working } from "../parts/asking";
import { use_page, type Page } from "../page";
import { keep_answer } from "./direction_actions";

type Kind = Exclude<DirectionRecipe["kind"], "put">;
const KINDS: { kind: Kind; label: string }[] = [
  { kind: "contrast", label: "Two lists of prompts" },
  { kind: "neuron", label: "The selected neuron" },
  { kind: "head", label: "The selected head" },
  { kind: "unembed", label: "A token" },
  { kind: "pca", label: "An axis of this text" },
];

export interface DirectionDraft {
  kind: Signal<Kind>;
  positive: Signal<string>;
  negative: Signal<string>;
  token: Signal<string>;
  layer: Signal<string>;
  axis: Signal<string>;
  /** Of a head: what it wrote at the shown token, not on average over the run. */
  is_here: Signal<boolean>;
}

const lines = (text: string): string[] => text.split("\n").filter((line) => line.trim() !== "");
const whole = (text: string, limit: number): number | null => (/^\d{1,6}$/.test(text.trim()) && Number(text) < limit ? Number(text) : null);

/** The recipe that the fields say, or the sentence that says what is missing. */
export function recipe_of(draft: DirectionDraft, { store }: Page, info: ModelInfo): DirectionRecipe | string {
  const kind = draft.kind.value;
  const layer = draft.layer.value.trim() === "" ? null : whole(draft.layer.value, info.n_layers);
  if (draft.layer.value.trim() !== "" && layer === null && (kind === "contrast" || kind === "pca")) {
    return `The layer is a number from 0 to ${info.n_layers - 1}.`;
  }
  const selection = store.selection.value;
  switch (kind) {
    case "contrast": {
      const [positive, negative] = [lines(draft.positive.value), lines(draft.negative.value)];
      return Math.min(positive.length, negative.length) < 2 ? "Write at least two prompts on each side, one a line." : { kind, layer, positive, negative };
    }
    case "neuron":
    case "head": {
      if (selection?.kind !== kind) return `Select a ${kind} first.`;
      const pos = kind === "head" && draft.is_here.value ? Math.max(0, store.current_pos.value) : null;
      return { kind, layer: selection.layer, index: selection.index, pos };
    }
    case "unembed":
      return draft.token.value === "" ? "Write a token; a space before it counts." : { kind, token: draft.token.value };
    case "pca": {
      const axis = whole(draft.axis.value, info.d_model + 1);
      if (layer === null) return "Say after which layer.";
      return axis === null || axis < 1 ? "The number of the axis is 1 for the strongest." : { kind, layer, index: axis - 1 };
    }
  }
}

export function DirectionForm({ draft, info }: { draft: DirectionDraft; info: ModelInfo }): JSX.Element {
  const page = use_page();
  const { store, actions } = page;
  const name = useSignal("");
  const inquiry = page.state.interventions.direction_inquiry;
  const { progress, error } = inquiry.slot.value;
  const recipe = recipe_of(draft, page, info);
  const no_run = store.run.value ? null : "Run a prompt first.";
  const problem = no_run ?? (typeof recipe === "string" ? recipe : null);
  const make = (event: Event): void => {
    event.preventDefault();
    if (typeof recipe === "string") return;
    void inquiry.ask(actions.ask, { type: "request_direction", recipe, name: name.peek().trim() }).then((answer) => {
      if (answer) keep_answer(page, answer);
    });
  };
  return (
    <form class="direction-form" onSubmit={make}>
      <label class="field-row"><span>From</span>
        <select value={draft.kind.value} aria-label="What the direction is made from"
          onChange={(event) => (draft.kind.value = event.currentTarget.value as Kind)}>
          {KINDS.map(({ kind, label }) => <option key={kind} value={kind}>{label}</option>)}
        </select>
      </label>
      <KindFields draft={draft} />
      <label class="field-row"><span>Name</span>
        <input type="text" maxLength={120} value={name.value} placeholder="of your choice" aria-label="Name of the direction"
          autocomplete="off" onInput={(event) => (name.value = event.currentTarget.value)} />
      </label>
      <div class="set-row">
        {progress ? <Working progress={progress} on_cancel={() => inquiry.give_up()} />
          : <button type="submit" class="button small primary" id="direction-make" disabled={problem !== null}>Make</button>}
        {!progress && problem && <span class="muted field-note" role="status">{problem}</span>}
      </div>
      {error && <p class="off-mark" role="alert">{error}</p>}
    </form>
  );
}

function KindFields({ draft }: { draft: DirectionDraft }): JSX.Element | null {
  const { store } = use_page();
  const selection = store.selection.value;
  const kind = draft.kind.value;
  const layer = (placeholder: string): JSX.Element => (
    <label class="field-row"><span>Layer</span>
      <input type="text" inputMode="numeric" class="pos-field" value={draft.layer.value} placeholder={placeholder}
        aria-label={`Layer; empty: ${placeholder}`} onInput={(event) => (draft.layer.value = event.currentTarget.value)} />
    </label>
  );
  const prompts = (label: string, held: Signal<string>): JSX.Element => (
    <textarea class="reference-text" rows={4} placeholder={`${label}: one prompt a line`} aria-label={`${label}, one prompt a line`}
      value={held.value} onInput={(event) => (held.value = event.currentTarget.value)} />
  );
  if (kind === "contrast") {
    return (
      <>
        <div class="contrast-lists">{prompts("Towards", draft.positive)}{prompts("Away from", draft.negative)}</div>
        {layer("best")}
      </>
    );
  }
  if (kind === "pca") {
    return (
      <>
        {layer("number")}
        <label class="field-row"><span>Axis</span>
          <input type="text" inputMode="numeric" class="pos-field" value={draft.axis.value} aria-label="Axis, 1 is the strongest"
            onInput={(event) => (draft.axis.value = event.currentTarget.value)} />
        </label>
      </>
    );
  }
  if (kind === "unembed") {
    return (
      <label class="field-row"><span>Token</span>
        <input type="text" value={draft.token.value} aria-label="Token" placeholder="“ boots”: with its space" spellcheck={false}
          autocomplete="off" onInput={(event) => (draft.token.value = event.currentTarget.value)} />
      </label>
    );
  }
  return (
    <>
      <p class="muted field-note">{selection?.kind === kind ? component_id(selection) : "Nothing of that kind is selected."}</p>
      {kind === "head" && (
        <label class="check">
          <input type="checkbox" checked={draft.is_here.value} onChange={(event) => (draft.is_here.value = event.currentTarget.checked)} />
          what it wrote at the shown token only, not on average
        </label>
      )}
    </>
  );
}
