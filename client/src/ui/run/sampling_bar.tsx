// How the next token is chosen, and which tokens the direct logit is measured between.
import type { ComponentChildren, JSX } from "preact";
import type { Signal } from "@preact/signals";
import { missing_channel } from "../../store/capabilities";
import { use_page } from "../page";
import type { RunForm } from "./run_form";

interface FieldProps {
  label: string;
  hint: string;
  value: Signal<string>;
  width?: "short" | "long";
  disabled?: boolean;
  placeholder?: string;
  numeric?: boolean;
}

function Field({ label, hint, value, width = "short", disabled, placeholder, numeric = true }: FieldProps): JSX.Element {
  return (
    <label class={`field ${width}`} title={hint}>
      <span>{label}</span>
      <input type="text" inputMode={numeric ? "decimal" : "text"} value={value.value} disabled={disabled}
        placeholder={placeholder} autocomplete="off" spellcheck={false} maxLength={256}
        onInput={(event) => (value.value = event.currentTarget.value)} />
    </label>
  );
}

function Check({ value, disabled, title, children }: {
  value: Signal<boolean>; disabled?: boolean; title: string; children: ComponentChildren;
}): JSX.Element {
  return (
    <label class="check" title={title}>
      <input type="checkbox" checked={value.value} disabled={disabled}
        onChange={(event) => (value.value = event.currentTarget.checked)} />
      <span>{children}</span>
    </label>
  );
}

export function SamplingBar({ form }: { form: RunForm }): JSX.Element {
  const { store } = use_page();
  const has_template = store.model_info.value?.capabilities.has_chat_template ?? false;
  const no_direct = missing_channel(store, "direct_logit");
  const greedy = form.greedy.value;
  return (
    <div class="sampling-row" role="group" aria-label="Sampling">
      <Check value={form.apply_chat_template} disabled={!has_template}
        title={has_template ? "Wrap the prompt as the chat model expects" : "This model has no chat template"}>
        Chat template
      </Check>
      <span class="divider" />
      <div class="segmented" role="radiogroup" aria-label="How the next token is chosen">
        {[true, false].map((value) => (
          <button type="button" role="radio" aria-checked={greedy === value} key={String(value)}
            tabIndex={greedy === value ? 0 : -1}
            onKeyDown={(event) => {
              if (!event.key.startsWith("Arrow")) return;
              event.preventDefault();
              event.stopPropagation();
              form.greedy.value = !value;
              const other = event.currentTarget.nextElementSibling ?? event.currentTarget.previousElementSibling;
              if (other instanceof HTMLElement) other.focus();
            }}
            onClick={() => (form.greedy.value = value)}>{value ? "Greedy" : "Sample"}</button>
        ))}
      </div>
      <Field label="temperature" value={form.temperature} disabled={greedy}
        hint="Below 1 sharpens the distribution, above 1 flattens it" />
      <Field label="top-k" value={form.top_k} disabled={greedy} hint="Only the k likeliest tokens; 0 is off" />
      <Field label="top-p" value={form.top_p} disabled={greedy}
        hint="Only the likeliest tokens that together reach this probability; 1 is off" />
      <Field label="seed" value={form.seed} disabled={greedy} hint="Same seed, same settings, same text" />
      <Field label="length" value={form.max_new_tokens} hint="How many tokens to generate at most" />
      <span class="divider" />
      <Field label="target" width="long" value={form.target_token} numeric={false} disabled={no_direct !== null}
        placeholder="chosen token"
        hint={no_direct ?? "Direct logit explains this token's logit; empty: the token chosen at each step. Most words begin with a space."} />
      <Field label="distractor" width="long" value={form.distractor_token} numeric={false} disabled={no_direct !== null}
        placeholder="mean of all"
        hint={no_direct ?? "Subtracted from the target's logit; empty: the mean of all logits"} />
    </div>
  );
}
