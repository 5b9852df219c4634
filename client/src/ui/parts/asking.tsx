// A question's state in words: not answered by this model, being worked on, refused, about an earlier text.
import type { JSX } from "preact";
import type { Capabilities } from "../../protocol/generated";
import type { Progress } from "../../protocol/questions";
import { missing_analysis } from "../../store/capabilities";
import { count_text } from "../format";
import { use_page } from "../page";
import type { Profile } from "./use_profile";

type Kind = Capabilities["analyses"][number];

/** Why the engine does not answer questions of `kind`; null where it does. */
export function use_missing(kind: Kind): string | null {
  const { store } = use_page();
  const capabilities = store.model_info.value?.capabilities;
  if (!capabilities || capabilities.analyses.includes(kind)) return null;
  return missing_analysis(store, kind) ?? "This model cannot be asked this.";
}

interface WorkProps {
  progress: Progress;
  on_cancel?: () => void;
}

/** Counted are the server's own steps: pieces of text, layers, batches. */
export function Working({ progress, on_cancel }: WorkProps): JSX.Element {
  const { done, total } = progress;
  const text = total > 0 ? `${count_text(done)} of ${count_text(total)} steps` : "waiting for the server";
  return (
    <div class="working">
      <progress max={Math.max(1, total)} value={total > 0 ? done : undefined} aria-label="Progress" />
      <span class="muted working-text">{text}</span>
      {on_cancel && <button type="button" class="button small" onClick={on_cancel}>Cancel</button>}
    </div>
  );
}

/** What stands above a profile's answer, or in its place. */
export function ProfileState({ profile }: { profile: Profile<unknown> }): JSX.Element | null {
  const { store } = use_page();
  const { slot, is_stale, again } = profile;
  if (!store.run.value) return <p class="muted">Run a prompt first: a profile is of a text.</p>;
  if (slot.error) {
    return (
      <div class="asked-again" role="alert">
        <p>{slot.error}</p>
        <button type="button" class="button small" onClick={again}>Try again</button>
      </div>
    );
  }
  if (slot.progress) return <Working progress={slot.progress} />;
  if (!is_stale) return null;
  return (
    <div class="asked-again">
      <p class="muted">The text has gone on since.</p>
      <button type="button" class="button small" onClick={again}>Update</button>
    </div>
  );
}
