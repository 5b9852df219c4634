// Model, prompt, and the buttons that drive a run.
import { useRef } from "preact/hooks";
import type { JSX } from "preact";
import type { ModelInfo } from "../../protocol/generated";
import { NO_MODEL } from "../../store/replay";
import type { RunView } from "../../store/types";
import { count_text } from "../format";
import { Icon, IconButton } from "../icons";
import { use_page } from "../page";
import { ReplayBar } from "../replay/replay_bar";
import type { RunForm } from "./run_form";
import { SamplingBar } from "./sampling_bar";
import { ShareMenu } from "../share/share_menu";

const FINISHED: Record<string, string> = {
  eos: "ended its text",
  max_new_tokens: "length reached",
  context_full: "context is full",
  stopped: "stopped",
  abandoned: "no longer on the server",
  nonfinite: "numbers became not finite",
  engine_fault: "engine fault",
};

export function TopBar({ form, toggle_theme }: { form: RunForm; toggle_theme: () => void }): JSX.Element {
  const { store, state } = use_page();
  const info = store.model_info.value;
  const replay = store.replay.value;
  return (
    <header class="top-bar">
      <div class="top-row">
        <h1 class="brand">
          <svg viewBox="0 0 20 20" width="20" height="20" aria-hidden="true">
            <circle cx="10" cy="10" r="8" fill="none" stroke="currentColor" stroke-width="1.6" opacity="0.55" />
            <path d="M3 12.5C6 5 14 5 17 12.5" fill="none" stroke="var(--accent)" stroke-width="1.8" />
            <circle cx="17" cy="12.5" r="1.8" fill="var(--accent)" />
          </svg>
          livelens
        </h1>
        <ModelLabel info={info} />
        <PromptBox form={form} />
        <RunButtons />
        <RunStatus />
        <div class="top-tools">
          <ShareMenu />
          <IconButton icon="theme" label="Switch between dark and light" onClick={toggle_theme} />
          <button type="button" class="icon-button" aria-label="Keyboard and help" title="Keyboard and help (?)"
            onClick={() => (state.help_open.value = true)}>?</button>
        </div>
      </div>
      {replay ? <ReplayBar replay={replay} /> : <SamplingBar form={form} />}
    </header>
  );
}

function ModelLabel({ info }: { info: ModelInfo | null }): JSX.Element {
  if (!info) return <div class="model muted">no model yet</div>;
  const neurons = count_text(info.n_layers * info.d_mlp);
  const heads = count_text(info.n_layers * info.n_heads);
  const shape = `${info.n_layers} layers · ${heads} heads · ${neurons} neurons`;
  const all =
    `${info.architecture}, ${info.dtype}\n${info.n_layers} layers, each ${info.n_heads} heads ` +
    `(${info.n_key_value_heads} key/value) and ${count_text(info.d_mlp)} neurons\nd_model ${info.d_model}, ` +
    `vocabulary ${count_text(info.d_vocab)}, context ${count_text(info.n_ctx)}`;
  return (
    <div class="model" title={all}>
      <span class="model-name">{info.model_name}</span>
      <span class="model-shape">{shape}</span>
    </div>
  );
}

function PromptBox({ form }: { form: RunForm }): JSX.Element {
  const { store, actions } = use_page();
  const is_recording = store.replay.value !== null;
  const box = useRef<HTMLTextAreaElement>(null);
  const on_key = (event: KeyboardEvent): void => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      if (!is_recording) void actions.start();
    } else if (event.key === "Escape") box.current?.blur();
  };
  return (
    <div class="prompt">
      <textarea ref={box} id="prompt" rows={1} spellcheck={false} aria-label="Prompt"
        readOnly={is_recording} title={is_recording ? NO_MODEL : undefined}
        placeholder="Text for the model to continue. Enter runs, Shift+Enter breaks the line."
        value={form.prompt.value} onKeyDown={on_key}
        onInput={(event) => (form.prompt.value = event.currentTarget.value)} />
    </div>
  );
}

function RunButtons(): JSX.Element {
  const { store, actions } = use_page();
  const run = store.run.value;
  const is_recording = store.replay.value !== null;
  const is_open = store.connection.value === "open" && !is_recording;
  const is_live = run !== null && run.state !== "finished";
  const is_paused = run?.state === "paused";
  const hint = (text: string): string => (is_recording ? NO_MODEL : text);
  return (
    <div class="run-buttons" role="group" aria-label="Run">
      <button type="button" class="button primary" id="run" disabled={!is_open} onClick={() => void actions.start()}
        title={hint("Start a new run with this prompt (Enter in the prompt)")}>
        <Icon name="run" /> Run
      </button>
      <button type="button" class="button" id="pause" disabled={!is_open || !is_live}
        onClick={() => void actions.pause_or_resume()} title={hint(is_paused ? "Go on (Space)" : "Hold at the next token (Space)")}>
        <Icon name={is_paused ? "run" : "pause"} /> {is_paused ? "Resume" : "Pause"}
      </button>
      <button type="button" class="button" id="step" disabled={!is_open} onClick={() => void actions.step()}
        title={hint("Make exactly one token (s)")}>
        <Icon name="step" /> Step
      </button>
      <button type="button" class="button" id="stop" disabled={!is_open || !is_live} onClick={() => void actions.stop()}
        title={hint("End the run, keeping its text")}>
        <Icon name="stop" /> Stop
      </button>
    </div>
  );
}

function state_text(run: RunView | null): string {
  if (!run) return "ready";
  if (run.state === "prefilling") return "reading the prompt";
  if (run.state !== "finished") return run.state;
  return FINISHED[run.finish_reason ?? ""] ?? "finished";
}

function RunStatus(): JSX.Element {
  const { store } = use_page();
  const run = store.run.value;
  const speed = store.tokens_per_second.value;
  const connection = store.connection.value;
  const is_open = connection === "open";
  const label = is_open ? state_text(run) : connection;
  const kind = is_open ? (run?.state ?? "ready") : connection;
  return (
    <div class="run-status" title={store.connection_message.value ?? undefined}>
      <span class="speed">
        <b>{speed === null ? "–" : speed >= 100 ? speed.toFixed(0) : speed.toFixed(1)}</b> tokens/s
      </span>
      <span class="state" data-kind={kind} id="run-state">{label}</span>
    </div>
  );
}
