// One listed intervention: what it does in words, from where it holds, its switch, and its fields when opened.
import type { JSX } from "preact";
import { alteration_of } from "../../layout/alterations";
import type { InterventionSpec } from "../../protocol/generated";
import { is_mean_of_nothing, moved } from "../../store/interventions";
import { effective_since } from "../../store/query";
import { who_words } from "../../store/set_log";
import { token_quote } from "../format";
import { IconButton } from "../icons";
import { announce_taken, use_page, type Page } from "../page";
import { RefusalWords, use_refusal, type RefusalPlace } from "../refusal";
import { Switch } from "../switch";
import { Glyph } from "./glyph";
import { use_spec_edits } from "./spec_edits";
import { SpecForm } from "./spec_form";
import { operation_words, positions_words, target_words } from "./spec_words";

export function Entry({ spec }: { spec: InterventionSpec }): JSX.Element {
  const page = use_page();
  const { store, actions, state } = page;
  const { opened, directions } = state.interventions;
  const id = spec.intervention_id;
  const target = target_words(spec);
  const is_open = opened.value === id;
  const names = new Map([
    ...directions.value.map(({ info }) => [info.direction_id, info.name] as const),
    ...state.edits.held.value.map(({ info }) => [info.edit_id, info.name] as const),
  ]);
  const refusal = use_refusal();
  const where = positions_words(spec.positions, store.tokens.value);
  return (
    <li class="intervention" data-enabled={spec.enabled} data-open={is_open || undefined}>
      <Switch checked={spec.enabled} label={`${target} intervention`}
        on_change={(enabled) => actions.set_enabled(id, enabled, refusal.anew())} />
      <div class="intervention-text">
        <button type="button" class="link" disabled={spec.components.length === 0}
          onClick={() => actions.select(spec.components[0] ?? null)}>{target}</button>
        <span class="operation"><Glyph how={alteration_of(spec)} />{operation_words(spec, store.tokens.value, names)}</span>
        {where && <span class="muted where-at">{where}</span>}
        <span class="muted where">{since_words(page, spec)}</span>
        {is_idle(page, spec) && <span class="where mean-of-nothing">changes nothing there: the prompt ends before</span>}
        <RefusalWords words={refusal.words} />
      </div>
      <button type="button" class="icon-button" aria-expanded={is_open} aria-label={`Fields of ${target}`} title="Change it"
        onClick={() => (opened.value = is_open ? null : id)}>{is_open ? "▾" : "▸"}</button>
      <IconButton icon="close" label={`Remove the intervention on ${target}`} onClick={() => actions.remove(id, refusal.anew())} />
      {is_open && <Fields spec={spec} />}
      {is_open && <Order spec={spec} refusal={refusal} />}
    </li>
  );
}

function Fields({ spec }: { spec: InterventionSpec }): JSX.Element {
  const { shown, problem, edit } = use_spec_edits(spec);
  return <SpecForm spec={shown} problem={problem} edit={edit} />;
}

/** An intervention acts on what those before it have left: its place in the list is one of its fields. */
function Order({ spec, refusal }: { spec: InterventionSpec; refusal: RefusalPlace }): JSX.Element | null {
  const { store, actions, state } = use_page();
  const specs = store.interventions.value;
  const id = spec.intervention_id;
  const at = specs.findIndex((other) => other.intervention_id === id);
  if (specs.length < 2) return null;
  const move = (by: number): void => {
    const answer = actions.change((listed) => moved(listed, id, by), refusal.anew());
    void announce_taken(state, answer, () => `${target_words(spec)}: ${at + 1 + by} of ${specs.length}`);
  };
  const button = (by: number, label: string, sign: string): JSX.Element => (
    <button type="button" class="button small" disabled={at + by < 0 || at + by >= specs.length} aria-label={label} title={label}
      onClick={() => move(by)}>{sign}</button>
  );
  return (
    <div class="set-row entry-order">
      <span class="muted field-note">Acts as number {at + 1} of {specs.length}, on what those before it left</span>
      {button(-1, "Let it act earlier", "▲")}
      {button(1, "Let it act later", "▼")}
    </div>
  );
}

/** Whether it is in force, or about to be, where it has no effect. */
function is_idle({ store }: Page, spec: InterventionSpec): boolean {
  const run = store.run.value;
  if (!run || !spec.enabled) return false;
  const since = effective_since(run, spec);
  const next = run.state === "finished" ? 0 : store.history.newest_pos + 1;
  return is_mean_of_nothing(spec, since?.from_pos ?? next, run.n_prompt_tokens);
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
