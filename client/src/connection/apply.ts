// What an event changes in the store. Several events are applied in one batch, once per animation frame.
import { batch } from "@preact/signals";
import type { DecodedEvent, DecodedStep } from "../protocol/decode";
import type { InterventionsApplied, RunRewound, RunSnapshot, TwinChanged } from "../protocol/generated";
import type { Store } from "../store/store";
import type { RunView, StepRecord, TokenChip } from "../store/types";
import type { Speed } from "./speed";

/** Apply `events` in order. Answers to requests are the connection's business, not the store's. */
export function apply_events(store: Store, events: readonly DecodedEvent[], speed: Speed): void {
  batch(() => {
    const draft = new TokenDraft(store);
    for (const event of events) apply_event(store, event, draft, speed);
    draft.commit();
    follow_newest(store);
    store.tokens_per_second.value = speed.tokens_per_second();
  });
}

function apply_event(store: Store, event: DecodedEvent, draft: TokenDraft, speed: Speed): void {
  const run = store.run.peek();
  if (event.type === "run_started" || event.type === "run_joined") {
    if (run?.run_id !== event.run.run_id) speed.reset();
    begin_run(store, event.run, draft);
    return;
  }
  if (!run || !("run_id" in event) || event.run_id !== run.run_id) return; // of a run that was left
  switch (event.type) {
    case "step":
      store.history.put(step_record(event));
      draft.take_step(event);
      if (event.twin) store.twin_seen.value = true;
      if (event.generated) speed.took_step(event.pos, event.server_ns);
      if (event.generated && run.state === "prefilling") store.run.value = { ...run, state: "running" };
      break;
    case "run_state_changed":
      if (event.state !== "running") speed.pause();
      store.run.value = { ...run, state: event.state };
      break;
    case "interventions_applied":
      log_interventions(store, run, event);
      break;
    case "twin_changed":
      change_twin(store, run, event);
      break;
    case "run_rewound":
      rewind(store, run, event, draft);
      break;
    case "run_finished":
      speed.pause();
      draft.flush_text();
      store.run.value = { ...store.run.peek()!, state: "finished", finish_reason: event.reason, text: event.text };
      break;
    default:
  }
}

/** A run's tokens, copied at the first change of a batch and set once at its end. */
class TokenDraft {
  private tokens: TokenChip[] | null = null;
  private text_added = "";

  constructor(private readonly store: Store) {}

  replace(tokens: TokenChip[]): void {
    this.tokens = tokens;
    this.text_added = "";
  }

  truncate(n_tokens: number): void {
    this.replace(this.current().slice(0, n_tokens));
  }

  take_step(step: DecodedStep): void {
    const tokens = this.current();
    const known = tokens.length;
    if (step.pos >= known) {
      tokens[step.pos] = { ...empty_chip(step.pos), token_id: step.token_id, text: step.text };
      for (let pos = known; pos < step.pos; pos++) tokens[pos] = empty_chip(pos);
    }
    if (step.chosen_id === null) return;
    const next = step.pos + 1;
    if (next >= tokens.length) this.text_added += step.text_delta;
    tokens[next] = {
      pos: next,
      token_id: step.chosen_id,
      text: step.chosen_text ?? "",
      generated: step.generated,
      logprob: step.logprob,
      entropy: step.entropy,
    };
  }

  flush_text(): void {
    const run = this.store.run.peek();
    if (run && this.text_added) this.store.run.value = { ...run, text: run.text + this.text_added };
    this.text_added = "";
  }

  commit(): void {
    this.flush_text();
    if (this.tokens) this.store.tokens.value = this.tokens;
  }

  private current(): TokenChip[] {
    this.tokens ??= [...this.store.tokens.peek()];
    return this.tokens;
  }
}

function empty_chip(pos: number): TokenChip {
  return { pos, token_id: 0, text: "", generated: false, logprob: null, entropy: null };
}

function begin_run(store: Store, snapshot: RunSnapshot, draft: TokenDraft): void {
  const is_same = store.run.peek()?.run_id === snapshot.run_id;
  if (!is_same) {
    store.analysis.forget();
    store.history.drop_from(0);
    store.current_pos.value = -1;
    store.follow.value = true;
    store.twin_seen.value = false;
    const { view } = store.analysis.comparison;
    if (snapshot.twin === "off" && view.peek() === "twin") view.value = "own";
  }
  const held = store.history;
  draft.replace(
    snapshot.tokens.map((token, pos) => ({
      pos,
      ...token,
      generated: pos >= snapshot.n_prompt_tokens,
      entropy: held.get(pos - 1)?.entropy ?? null,
    })),
  );
  store.run.value = run_view(snapshot, is_same ? store.run.peek() : null);
  store.twin_mode.value = snapshot.twin;
  const last = snapshot.intervention_log.at(-1);
  store.interventions.value = last?.interventions ?? [];
}

function run_view(snapshot: RunSnapshot, before: RunView | null): RunView {
  const { run_id, prompt, apply_chat_template, sampling, n_prompt_tokens, text, state, finish_reason } = snapshot;
  const { revision, intervention_log, notice, branch, twin, twin_from_pos } = snapshot;
  return {
    run_id, prompt, apply_chat_template, sampling, n_prompt_tokens, text, state, finish_reason, revision,
    intervention_log, notice, branch, twin, twin_from_pos, twin_author: before?.twin_author ?? null,
  };
}

function step_record(step: DecodedStep): StepRecord {
  const { pos, seq, token_id, text, chosen_id, chosen_text, generated, top_tokens, logprob, entropy } = step;
  const { revision, tensors, lens_texts, direct_target_id, direct_distractor_id, twin } = step;
  return {
    pos, seq, token_id, text, chosen_id, chosen_text, generated, top_tokens, logprob, entropy, revision, tensors,
    lens_texts, direct_target_id, direct_distractor_id, twin,
    detail_dropped: step.detail_dropped || step.lost.length > 0,
  };
}

function log_interventions(store: Store, run: RunView, event: InterventionsApplied): void {
  const { applied } = event;
  const log = [...run.intervention_log.filter((entry) => entry.revision !== applied.revision), applied];
  store.run.value = { ...run, revision: Math.max(run.revision, applied.revision), intervention_log: log };
  store.interventions.value = applied.interventions;
}

function change_twin(store: Store, run: RunView, { mode, from_pos, author }: TwinChanged): void {
  store.run.value = { ...run, twin: mode, twin_from_pos: from_pos, twin_author: author };
  store.twin_mode.value = mode;
  const { view } = store.analysis.comparison;
  if (mode === "off" && view.peek() === "twin") view.value = "own"; // the next token has no other side
}

function rewind(store: Store, run: RunView, event: RunRewound, draft: TokenDraft): void {
  draft.truncate(event.n_tokens);
  store.analysis.rewound(event.from_pos, event.n_tokens);
  store.history.drop_from(event.from_pos);
  const { text, revision } = event;
  store.run.value = { ...run, text, revision: Math.max(run.revision, revision), finish_reason: null };
}

function follow_newest(store: Store): void {
  const newest = store.history.newest_pos;
  if (store.follow.peek()) store.current_pos.value = newest;
  else if (store.current_pos.peek() >= store.tokens.peek().length) store.current_pos.value = newest;
}
