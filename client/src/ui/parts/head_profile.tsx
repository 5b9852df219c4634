// What the selected head does: where it looks in this run, its habits, what it writes, and who feeds it.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { component_id } from "../../layout/component_id";
import type { Component, Feeder, HeadScore } from "../../protocol/generated";
import type { HeadProfileAnswer } from "../../protocol/questions";
import type { ComponentHistory, ValueAt } from "../inspector/exact_history";
import { number_text, percent_text, token_quote } from "../format";
import { HistoryChart } from "../inspector/history_chart";
import { use_page } from "../page";
import type { Shown } from "../shown_step";
import { ProfileState, use_missing } from "./asking";
import { FeederButtons } from "./feeders";
import { PatternMap } from "./pattern_map";
import { SCORES } from "./score_words";
import { TokenWords } from "./token_words";
import { use_profile } from "./use_profile";

const WORDS_PER_READ = 4;
/** A token read with less attention than this is left out, the strongest never. */
const LEAST_READ = 0.005;
const PARTS: readonly { part: Feeder["part"]; label: string }[] = [
  { part: "query", label: "Query: what it looks for" },
  { part: "key", label: "Key: what is found" },
  { part: "value", label: "Value: what it takes along" },
];

export function HeadProfile({ head, shown }: { head: Component; shown: Shown }): JSX.Element {
  const missing = use_missing("head_profile");
  const { pos } = shown.step.value;
  if (missing) return <p class="muted">{missing}</p>;
  return <AskedProfile head={head} query_pos={pos >= 0 ? pos : null} />;
}

function AskedProfile({ head, query_pos }: { head: Component; query_pos: number | null }): JSX.Element {
  const picked = useSignal<number | null>(null);
  const key_pos = picked.value !== null && query_pos !== null && picked.value <= query_pos ? picked.value : null;
  const question = { type: "request_head_profile", layer: head.layer, head_index: head.index, query_pos, key_pos } as const;
  const profile = use_profile(question);
  const { answer } = profile.slot;
  return (
    <div class="profile" aria-busy={profile.slot.progress !== null}>
      <ProfileState profile={profile} />
      {answer && <Answered id={component_id(head)} answer={answer} key_pos={key_pos} pick_key={(at) => (picked.value = at)} />}
    </div>
  );
}

interface AnsweredProps {
  id: string;
  answer: HeadProfileAnswer;
  key_pos: number | null;
  pick_key(at: number | null): void;
}

function Answered({ id, answer, key_pos, pick_key }: AnsweredProps): JSX.Element {
  const { store, actions } = use_page();
  const [n = 0] = answer.pattern.shape;
  const entropy = useMemo<ComponentHistory>(() => {
    const values = Array.from(answer.entropy.values, (value, pos): [number, ValueAt] => [pos, { value, exact: true }]);
    return { values: new Map(values), n_positions: n };
  }, [answer]);
  return (
    <>
      <h3>Pattern over {n} tokens</h3>
      <PatternMap id={id} pattern={answer.pattern} query_pos={answer.query_pos} key_pos={key_pos} on_pick_key={pick_key} />
      <h3 title="Entropy of each query's row: 0 looks at one token, ln(n) at all alike">Entropy of its looks, nat</h3>
      <HistoryChart history={entropy} pos={answer.query_pos} tokens={store.tokens.value}
        on_pick={(at) => actions.select_pos(at)} />
      <h3>Habits, measured on repeated random tokens</h3>
      <Scores score={answer.score} />
      <h3>What it writes at {answer.query_pos} {token_quote(store.tokens.value[answer.query_pos]?.text ?? "")}, in logits</h3>
      <PositionPickers answer={answer} key_pos={key_pos} pick_key={pick_key} />
      <Reads answer={answer} key_pos={key_pos} />
      <h3>Heads that feed it, by their weights</h3>
      {answer.layer === 0 && <p class="muted">The first layer reads the embedding only: no head comes before it.</p>}
      {answer.layer > 0 && PARTS.map(({ part, label }) => (
        <FeederButtons key={part} label={label} feeders={answer.feeders.filter((feeder) => feeder.part === part)} />
      ))}
    </>
  );
}

function Scores({ score }: { score: HeadScore }): JSX.Element {
  return (
    <dl class="scores">
      {SCORES.map(({ name, label, means, misleads }) => (
        <div key={name} data-score={name}>
          <dt>{label}</dt>
          <dd>
            <b>{number_text(score[name], 2)}</b>
            <span class="score-bar" aria-hidden="true">
              <i style={{ width: `${100 * Math.min(1, Math.abs(score[name]))}%` }} data-sign={Math.sign(score[name])} />
            </span>
          </dd>
          <dd class="score-words muted">{means} {misleads}</dd>
        </div>
      ))}
    </dl>
  );
}

/** Query and key by number, for whoever does not point at the pattern; the strongest keys come by themselves. */
function PositionPickers({ answer, key_pos, pick_key }: Omit<AnsweredProps, "id">): JSX.Element {
  const { actions } = use_page();
  const [n = 0] = answer.pattern.shape;
  const picked = (field: HTMLInputElement): number | null =>
    field.value !== "" && field.validity.valid ? field.valueAsNumber : null;
  return (
    <div class="position-pickers">
      <label>Query
        <input type="number" min={0} max={n - 1} step={1} value={answer.query_pos} onChange={(event) => {
          const at = picked(event.currentTarget);
          if (at !== null) actions.select_pos(at);
        }} />
      </label>
      <label>Key
        <input type="number" min={0} max={answer.query_pos} step={1} value={key_pos ?? ""} placeholder="strongest"
          onChange={(event) => pick_key(picked(event.currentTarget))} />
      </label>
    </div>
  );
}

function Reads({ answer, key_pos }: { answer: HeadProfileAnswer; key_pos: number | null }): JSX.Element {
  const { actions } = use_page();
  const reads = answer.reads.filter((read, i) => i === 0 || read.weight >= LEAST_READ || read.key_pos === key_pos);
  return (
    <ol class="reads">
      {reads.map((read) => (
        <li key={read.key_pos} data-asked={read.key_pos === key_pos || undefined}>
          <button type="button" class="link" title={`Show position ${read.key_pos}`}
            onClick={() => actions.select_pos(read.key_pos)}>
            {percent_text(read.weight)} from {read.key_pos} {token_quote(read.text)}
          </button>
          <TokenWords label="raises" tokens={read.promoted} most={WORDS_PER_READ} />
          <TokenWords label="lowers" tokens={read.suppressed} most={WORDS_PER_READ} />
        </li>
      ))}
      {reads.length < answer.reads.length && <li class="muted">What it looks at with less than {percent_text(LEAST_READ)} is left out.</li>}
    </ol>
  );
}
