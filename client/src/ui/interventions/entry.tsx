// One listed intervention: what it does in words, from where it holds, its switch, and its fields when opened.
import type { JSX } from "preact";
import { alteration_of } from "../../layout/alterations";
import type { InterventionSpec } from "../../protocol/generated";
import { effective_since } from "../../store/query";
import { who_words } from "../../store/set_log";
import { add_notice } from "../../store/store";
import { token_quote } from "../format";
import { IconButton } from "../icons";
import { use_page, type Page } from "../page";
import { Switch } from "../switch";
import { incomplete } from "./draft";
import { Glyph } from "./glyph";
import { SpecForm } from "./spec_form";
import { operation_words, positions_words, target_words } from "./spec_words";

export function Entry({ spec }: { spec: InterventionSpec }): JSX.Element {
  const page = use_page();
  const { store, actions, state } = page;
  const { opened, directions } = state.interventions;
  const id = spec.intervention_id;
  const target = target_words(spec);
  const is_open = opened.value === id;
  const names = new Map(directions.value.map(({ info }) => [info.direction_id, info.name]));
  const where = positions_words(spec.positions, store.tokens.value);
  return (
    <li class="intervention" data-enabled={spec.enabled} data-open={is_open || undefined}>
      <Switch checked={spec.enabled} label={`${target} intervention`}
        on_change={(enabled) => actions.set_enabled(id, enabled)} />
      <div class="intervention-text">
        <button type="button" class="link" disabled={spec.components.length === 0}
          onClick={() => actions.select(spec.components[0] ?? null)}>{target}</button>
        <span class="operation"><Glyph how={alteration_of(spec)} />{operation_words(spec, store.tokens.value, names)}</span>
        {where && <span class="muted where-at">{where}</span>}
        <span class="muted where">{since_words(page, spec)}</span>
      </div>
      <button type="button" class="icon-button" aria-expanded={is_open} aria-label={`Fields of ${target}`} title="Change it"
        onClick={() => (opened.value = is_open ? null : id)}>{is_open ? "▾" : "▸"}</button>
      <IconButton icon="close" label={`Remove the intervention on ${target}`} onClick={() => actions.remove(id)} />
      {is_open && <SpecForm spec={spec} edit={(next, is_moving) => edit_listed(page, next, is_moving)} />}
    </li>
  );
}

/** From which position the server says that it holds, and by whose hand. */
function since_words({ store }: Page, spec: InterventionSpec): string {
  const run = store.run.value;
  const since = effective_since(run, spec);
  if (!since) return !run || run.state === "finished" ? "from the start of the next run" : "at the next token";
  const token = store.tokens.value[since.from_pos];
  const scope = spec.positions?.scope ?? "from_now";
  const by = ` · ${who_words(since.author, store.own_viewer_ids.value)} · rev ${since.revision}`;
  if (scope === "all" || scope === "range") return (spec.enabled ? "in force" : "off") + by;
  const from = `${spec.enabled ? "from" : "off from"} position ${since.from_pos}`;
  return `${from}${token ? ` (${token_quote(token.text)})` : ""}${by}`;
}

/** Put `next` in the place of the one with its id; nothing where that is gone meanwhile. */
function edit_listed({ store, actions }: Page, next: InterventionSpec, is_moving: boolean): void {
  const problem = incomplete(next);
  if (problem) {
    add_notice(store, "fault", problem);
    return;
  }
  const change = (specs: readonly InterventionSpec[]): InterventionSpec[] =>
    specs.map((spec) => (spec.intervention_id === next.intervention_id ? { ...next, enabled: spec.enabled } : spec));
  if (is_moving) actions.change_live(`edit ${next.intervention_id}`, change);
  else {
    actions.change_live(`edit ${next.intervention_id}`, change);
    actions.end_gesture();
  }
}
