// What the selected neuron does: what drives it, what it raises, where in this run it is loud, who is like it.
import type { JSX } from "preact";
import { with_run } from "../../connection/run_link";
import type { Component, NeuronContext } from "../../protocol/generated";
import type { NeuronProfileAnswer } from "../../protocol/questions";
import type { HostTensor } from "../../store/types";
import { count_text, number_text, token_label } from "../format";
import { use_page } from "../page";
import { ProfileState, use_missing } from "./asking";
import { FeederButtons } from "./feeders";
import { largest_size } from "./paint";
import { TokenWords } from "./token_words";
import { use_profile } from "./use_profile";

export function NeuronProfile({ neuron }: { neuron: Component }): JSX.Element {
  const missing = use_missing("neuron_profile");
  return missing ? <p class="muted">{missing}</p> : <AskedProfile neuron={neuron} />;
}

function AskedProfile({ neuron }: { neuron: Component }): JSX.Element {
  const { store, state } = use_page();
  const run_id = store.run.value?.run_id;
  const past_run_ids = state.parts.runs_seen.ids.value.filter((id) => id !== run_id);
  const profile = use_profile({
    type: "request_neuron_profile", layer: neuron.layer, neuron_index: neuron.index, past_run_ids,
  } as const);
  const { answer } = profile.slot;
  return (
    <div class="profile" aria-busy={profile.slot.progress !== null}>
      <ProfileState profile={profile} />
      {answer && <Answered answer={answer} />}
    </div>
  );
}

function Answered({ answer }: { answer: NeuronProfileAnswer }): JSX.Element {
  return (
    <>
      <h3>When its activation is positive it</h3>
      <TokenWords label="raises" tokens={answer.promoted} />
      <TokenWords label="lowers" tokens={answer.suppressed} />
      <p class="muted">Weights alone, in logits for an activation of 1 before the final norm’s scale. A negative activation does the opposite.</p>
      <h3>Driven most by the tokens</h3>
      <TokenWords label="activation" tokens={answer.driven_by} />
      <p class="muted">As if its MLP read the token’s embedding and nothing else.</p>
      <h3>Loudest in this run</h3>
      <Contexts answer={answer} />
      <h3>Loudest in this tab’s runs before</h3>
      <PastContexts answer={answer} />
      <h3>How often which value</h3>
      <Histogram counts={answer.histogram} edges={answer.histogram_edges} />
      <h3>Most alike, by the cosine of their weights</h3>
      <FeederButtons label="Reads alike" feeders={answer.alike_in} />
      <FeederButtons label="Writes alike" feeders={answer.alike_out} />
    </>
  );
}

function Contexts({ answer }: { answer: NeuronProfileAnswer }): JSX.Element {
  const { actions } = use_page();
  return (
    <ol class="contexts">
      {answer.contexts.map((context) => (
        <li key={context.pos}>
          <button type="button" title={`Show position ${context.pos}`} onClick={() => actions.select_pos(context.pos)}>
            <ContextWords context={context} />
          </button>
        </li>
      ))}
    </ol>
  );
}

/** Their runs are not on the page: a link opens one beside it. */
function PastContexts({ answer }: { answer: NeuronProfileAnswer }): JSX.Element {
  const { past_contexts, n_past_runs, n_past_tokens } = answer;
  if (n_past_runs === 0) return <p class="muted">The server has no other run of this tab.</p>;
  return (
    <>
      <ol class="contexts" data-past>
        {past_contexts.map((context) => (
          <li key={`${context.run_id} ${context.pos}`}>
            <a href={with_run("", context.run_id)} target="_blank" rel="noopener"
              title={`Position ${context.pos} of another run: open it in a new tab`}>
              <ContextWords context={context} />
            </a>
          </li>
        ))}
      </ol>
      <p class="muted">
        {count_text(n_past_tokens)} tokens of {count_text(n_past_runs)} {n_past_runs === 1 ? "run" : "runs"} looked
        through, each text once; rounded, as the server keeps them.
      </p>
    </>
  );
}

function ContextWords({ context }: { context: NeuronContext }): JSX.Element {
  return (
    <>
      <span class="number" data-sign={Math.sign(context.value)}>{number_text(context.value)}</span>
      <span class="context-text"><bdi>{shown_before(context.before)}<mark>{token_label(context.text)}</mark></bdi></span>
    </>
  );
}

function shown_before(text: string): string {
  return text === "" ? "" : token_label(text);
}

/** Counts on a square-root scale, so that one loud token among hundreds is seen. */
function Histogram({ counts, edges }: { counts: HostTensor; edges: HostTensor }): JSX.Element {
  const n_tokens = Array.from(counts.values).reduce((sum, count) => sum + count, 0);
  const most = largest_size(counts.values, 1);
  const [low, high] = [edges.values[0], edges.values[edges.values.length - 1]];
  return (
    <figure class="histogram">
      <div class="histogram-bars" role="img"
        aria-label={`${count_text(n_tokens)} tokens, values from ${number_text(low)} to ${number_text(high)}`}>
        {Array.from(counts.values, (count, bin) => (
          <i key={bin} title={`${number_text(edges.values[bin])} to ${number_text(edges.values[bin + 1])}: ${count_text(count)}`}>
            <b style={{ height: `${100 * Math.sqrt(count / most)}%` }} />
          </i>
        ))}
      </div>
      <figcaption class="muted">
        <span>{number_text(low)}</span><span>{count_text(n_tokens)} tokens, heights by square root</span>
        <span>{number_text(high)}</span>
      </figcaption>
    </figure>
  );
}
