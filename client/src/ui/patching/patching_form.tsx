// The second prompt and the two tokens; patch, or compare; progress, cancel.
import type { JSX } from "preact";
import { MAX_PROMPT_CHARS } from "../../protocol/generated";
import { token_quote } from "../format";
import { use_page, type Page } from "../page";
import { use_missing, Working } from "../parts/asking";
import type { Shown } from "../shown_step";
import { TokenField } from "../why/token_field";
import { question_of } from "../why/why_actions";

/** Patch what predicts the token after `pos`, with the target and distractor of the Why tab. */
function patch(page: Page, pos: number): void {
  const { analysis, run } = page.store;
  const { why, patching } = page.state;
  const watched = run.peek();
  if (!watched) return;
  const metric = question_of(pos, why.target.peek(), why.distractor.peek(), why.against_mean.peek());
  patching.looks_at.value = "patching";
  analysis.explain(metric);
  void analysis.patching.ask(page.actions.ask, {
    type: "request_patching", metric, corrupted_prompt: patching.corrupted_prompt.peek() ?? watched.prompt,
    apply_chat_template: watched.apply_chat_template,
  });
}

/** Both runs side by side from now on; what is asked of the server follows the shown token. */
function compare(page: Page): void {
  const { store, state: { why, patching } } = page;
  const watched = store.run.peek();
  if (!watched) return;
  const written = patching.corrupted_prompt.peek() ?? watched.prompt;
  patching.looks_at.value = "comparison";
  if (store.display_channel.peek() === "causal") store.display_channel.value = "activation";
  store.analysis.comparison.begin({
    other_prompt: written === watched.prompt ? null : written,
    apply_chat_template: watched.apply_chat_template,
    without_interventions: patching.without_interventions.peek(),
    target: why.target.peek() || null,
    distractor: why.against_mean.peek() ? null : why.distractor.peek() || null,
  });
}

export function PatchingForm({ shown }: { shown: Shown }): JSX.Element {
  const page = use_page();
  const { store, state: { why, patching } } = page;
  const { progress } = store.analysis.patching.slot.value;
  const no_patching = use_missing("patching");
  const { pos, step } = shown.step.value;
  const own = store.run.value?.prompt ?? "";
  const written = patching.corrupted_prompt.value ?? own;
  return (
    <form class="patching-form" onSubmit={(event) => {
      event.preventDefault();
      patch(page, pos);
    }}>
      <label class="patching-prompt">
        <span class="muted">Second prompt</span>
        <textarea rows={2} value={written} maxLength={MAX_PROMPT_CHARS} spellcheck={false}
          onInput={(event) => (patching.corrupted_prompt.value = event.currentTarget.value)} />
      </label>
      <div class="patching-choices">
        <span class="muted" aria-hidden="true">Target</span>
        <TokenField label="Target token" value={why.target} placeholder="what followed" />
        <span class="muted" aria-hidden="true">Distractor</span>
        <TokenField label="Distractor token" value={why.distractor} placeholder="the runner-up" disabled={why.against_mean.value} />
        {progress
          ? <Working progress={progress} on_cancel={() => store.analysis.patching.give_up()} />
          : <button type="submit" class="button small" disabled={!step || written === "" || written === own || !!no_patching}
              title={no_patching ?? "The second prompt needs as many tokens as the first"}>
              {!step ? "Run a prompt first" : written === own ? "Change a word of the second prompt"
                : `Patch up to ${pos} ${token_quote(step.text)}`}
            </button>}
        <CompareButton is_ready={!!step && written !== ""} is_other={written !== own} />
      </div>
    </form>
  );
}

function CompareButton({ is_ready, is_other }: { is_ready: boolean; is_other: boolean }): JSX.Element {
  const page = use_page();
  const { without_interventions } = page.state.patching;
  const no_comparison = use_missing("comparison");
  const is_pointless = !is_other && !without_interventions.value;
  return (
    <>
      <button type="button" class="button small" disabled={!is_ready || is_pointless || !!no_comparison}
        title={no_comparison ?? (is_pointless ? "Change a word of the second prompt, or leave the interventions out"
          : "Every channel of both runs at the shown token, side by side")}
        onClick={() => compare(page)}>Compare side by side</button>
      <label class="check" title="The other run is computed with none of the interventions of this one">
        <input type="checkbox" checked={without_interventions.value}
          onChange={(event) => (without_interventions.value = event.currentTarget.checked)} />
        other run without my interventions
      </label>
    </>
  );
}
