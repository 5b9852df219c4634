// Components gathered to be changed together: from the selection, by key, by name, or by what they attend to.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { component_id } from "../../layout/component_id";
import type { Component, ModelInfo } from "../../protocol/generated";
import { add_notice, component_key, type Store } from "../../store/store";
import { use_page } from "../page";
import { can_change } from "./set_file";

const MAX_PICKED = 4096;
const SHOWN = 40;

export const is_picked = (picked: readonly Component[], component: Component): boolean =>
  picked.some((other) => component_key(other) === component_key(component));

/** Put `component` among the picked ones, or take it out. */
export function toggle_picked(store: Store, component: Component): void {
  const picked = store.picked.peek();
  store.picked.value = is_picked(picked, component)
    ? picked.filter((other) => component_key(other) !== component_key(component))
    : [...picked, component];
}

export function add_picked(store: Store, components: readonly Component[]): void {
  const fresh = components.filter((component) => !is_picked(store.picked.peek(), component));
  store.picked.value = [...store.picked.peek(), ...fresh].slice(0, MAX_PICKED);
}

const ID = /^L(\d{1,9})(?:H(\d{1,9})|N(\d{1,9})|\.(attn|mlp))$/i;

/** The components that `text` names, by blanks or commas; a string says which name is none of the model's. */
export function parse_components(text: string, info: ModelInfo): Component[] | string {
  const found: Component[] = [];
  for (const word of text.split(/[\s,;]+/).filter((part) => part !== "")) {
    const match = ID.exec(word);
    const layer = Number(match?.[1]);
    const component: Component | null = !match ? null
      : match[2] !== undefined ? { kind: "head", layer, index: Number(match[2]) }
      : match[3] !== undefined ? { kind: "neuron", layer, index: Number(match[3]) }
      : { kind: match[4]!.toLowerCase() as "attn" | "mlp", layer, index: 0 };
    if (!component || !can_change(component, info)) return `“${word}” is no component of this model: write L12H3, L7N1404, L5.attn or L5.mlp.`;
    found.push(component);
  }
  return found;
}

export function Picked({ only_heads = false }: { only_heads?: boolean }): JSX.Element {
  const { store } = use_page();
  const typed = useSignal("");
  const picked = store.picked.value;
  const selection = store.selection.value;
  const info = store.model_info.value;
  const can_pick = selection !== null && (!only_heads || selection.kind === "head");
  const add_typed = (event: Event): void => {
    event.preventDefault();
    const found = info ? parse_components(typed.peek(), info) : "There is no model yet.";
    if (typeof found === "string") add_notice(store, "fault", found);
    else {
      add_picked(store, found);
      typed.value = "";
    }
  };
  return (
    <div class="picked-box" role="group" aria-label="Picked components">
      <form class="set-row" onSubmit={add_typed}>
        <input type="text" value={typed.value} placeholder={only_heads ? "L12H3 L14H5 …" : "L12H3 L7N1404 …"} spellcheck={false}
          aria-label="Components to pick, by name" autocomplete="off" onInput={(event) => (typed.value = event.currentTarget.value)} />
        <button type="submit" class="button small" disabled={typed.value.trim() === ""}>Pick</button>
        <button type="button" class="button small" disabled={!can_pick} title="The selected component (g)"
          onClick={() => selection && toggle_picked(store, selection)}>
          {selection && is_picked(picked, selection) ? "Unpick" : "Pick"} {selection ? component_id(selection) : "selected"}
        </button>
        <button type="button" class="button small" disabled={picked.length === 0} onClick={() => (store.picked.value = [])}>None</button>
      </form>
      {picked.length > 0 && (
        <ul class="picked-list" aria-label="Picked">
          {picked.slice(0, SHOWN).map((component) => (
            <li key={component_key(component)}>
              <button type="button" class="picked" aria-label={`Unpick ${component_id(component)}`}
                data-idle={(only_heads && component.kind !== "head") || undefined}
                onClick={() => toggle_picked(store, component)}>{component_id(component)} ×</button>
            </li>
          ))}
          {picked.length > SHOWN && <li class="muted">and {picked.length - SHOWN} more</li>}
        </ul>
      )}
    </div>
  );
}
