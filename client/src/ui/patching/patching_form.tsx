// The second prompt and the two tokens; run, progress, cancel.
import type { Signal } from "@preact/signals";
import type { JSX } from "preact";
import { MAX_PROMPT_CHARS } from "../../protocol/generated";
import { token_quote } from "../format";
import { use_page, type Page } from "../page";
import { Working } from "../parts/asking";
import type { Shown } from "../shown_step";
import { question_of } from "../why/why_actions";

/** Patch what predicts the token after `pos`, with the target and distractor of the Why tab. */
function patch(page: Page, pos: number): void {
  const { analysis, run } = page.store;
  const { why, patching } = page.state;
  const watched = run.peek();
  if (!watched) return;
  const metric = question_of(pos, why.target.peek(), why.distractor.peek(), why.against_mean.peek());
  analysis.explain(metric);
  void analysis.patching.ask(page.actions.ask, {
    type: "request_patching", metric, corrupted_prompt: patching.corrupted_prompt.peek() ?? watched.prompt,
    apply_chat_template: watched.apply_chat_template,
  });
}

export function PatchingForm({ shown }: { shown: Shown }): JSX.Element {
  const page = use_page();
  const { store, state: { why, patching } } = page;
  const { progress } = store.analysis.patching.slot.value;
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
        <TokenField label="Target token" says="Target" value={why.target} />
        <TokenField label="Distractor token" says="Distractor" value={why.distractor} disabled={why.against_mean.value} />
        {progress
          ? <Working progress={progress} on_cancel={() => store.analysis.patching.give_up()} />
          : <button type="submit" class="button small" disabled={!step || written === "" || written === own}
              title="The second prompt needs as many tokens as the first">
              {!step ? "Run a prompt first" : written === own ? "Change a word of the second prompt"
                : `Patch up to ${pos} ${token_quote(step.text)}`}
            </button>}
      </div>
    </form>
  );
}

function TokenField({ label, says, value, disabled }: {
  label: string; says: string; value: Signal<string>; disabled?: boolean;
}): JSX.Element {
  return (
    <label>
      <span class="muted">{says} </span>
      <input type="text" aria-label={label} value={value.value} disabled={disabled} spellcheck={false} autocomplete="off"
        placeholder={says === "Target" ? "the one that followed" : "the runner-up"}
        title={`${label}: write it with its space, for instance “ Mary”; empty takes the default`}
        onChange={(event) => (value.value = event.currentTarget.value)} />
    </label>
  );
}
