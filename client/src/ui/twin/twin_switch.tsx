// The clean twin's switch: off, fed this run's text, or writing its own.
import type { JSX } from "preact";
import { NO_MODEL } from "../../store/replay";
import { add_notice } from "../../store/store";
import { has_twin, TWIN_MODES, twin_fault } from "../../store/twin";
import type { TwinMode } from "../../store/types";
import { announce_taken, use_page, type Page } from "../page";

const COST = "In the same forward passes; a token takes about 1.5 times as long.";
export const MODE_WORDS: Record<TwinMode, { label: string; hint: string }> = {
  off: { label: "Off", hint: "No twin: nothing is computed beside the run (key t)" },
  teacher_forced: {
    label: "Same text",
    hint: `The run beside itself without its interventions, reading the same tokens: what the interventions do, token by token (key t). ${COST}`,
  },
  free_running: {
    label: "Own text",
    hint: `The run beside itself without its interventions, writing on as it would have: where the texts part (key t). ${COST}`,
  },
};

export function TwinSwitch(): JSX.Element {
  const page = use_page();
  const { store } = page;
  const fault = twin_fault(store);
  return (
    <div class="twin-switch" title={fault === null ? undefined : `Not with this model: ${fault}`}>
      <span aria-hidden="true">Clean twin</span>
      <div class="segmented" role="group" aria-label="Clean twin">
        {TWIN_MODES.map((mode) => (
          <button type="button" key={mode} aria-pressed={store.twin_mode.value === mode}
            disabled={(fault !== null && mode !== "off") || store.replay.value !== null}
            title={fault === null ? MODE_WORDS[mode].hint : undefined}
            onClick={() => set_twin(page, mode)}>{MODE_WORDS[mode].label}</button>
        ))}
      </div>
    </div>
  );
}

/** Carry the twin so from the next token on, or with the next run; switched on, its view is shown. */
export function set_twin({ store, actions, state }: Page, mode: TwinMode): void {
  const fault = store.replay.peek() ? NO_MODEL : mode === "off" ? null : twin_fault(store);
  if (fault !== null) {
    add_notice(store, "info", `No clean twin: ${fault}`);
    return;
  }
  if (mode !== "off") [state.tab.value, state.drawer_open.value] = ["twin", true];
  void announce_taken(state, actions.set_twin(mode), () =>
    store.twin_mode.peek() === mode ? `Clean twin: ${MODE_WORDS[mode].label.toLowerCase()}` : null);
}

/** The key: off, same text, own text, and round again. */
export function next_twin(page: Page): void {
  const at = TWIN_MODES.indexOf(page.store.twin_mode.peek());
  set_twin(page, TWIN_MODES[(at + 1) % TWIN_MODES.length]!);
}

/** Show the difference from the twin in the picture and the tables, or this run again. */
export function toggle_twin_view({ store, state }: Page): void {
  const { view } = store.analysis.comparison;
  const is_shown = view.peek() === "twin";
  if (!is_shown && !has_twin(store)) return;
  view.value = is_shown ? "own" : "twin";
  state.announcement.value = is_shown ? "This run is shown" : "The difference from the clean twin is shown";
}
