// What an edit does, as the server measured it: to its own prompt, and to other prompts that it should leave alone.
import type { JSX } from "preact";
import type { RankOneRecipe, TopToken } from "../../protocol/generated";
import { number_text, percent_text, token_quote } from "../format";
import type { Made } from "./edits_state";

/** Above this another prompt's prediction is another one, nats. */
const MUCH = 0.1;

export function EditResult({ made, recipe }: { made: Made; recipe: RankOneRecipe }): JSX.Element {
  const word = token_quote(made.wanted_tokens.map(({ text }) => text).join(""));
  const losses = Array.from(made.losses.values);
  return (
    <>
      <p class="edit-prompt">
        {made.tokens.map((text, pos) => (
          <span key={pos} data-key={pos === made.key_pos || undefined} title={pos === made.key_pos ? "the key is read here" : undefined}>{text}</span>
        ))}
      </p>
      <p class="edit-numbers" data-failed={made.prob_after <= made.prob_before || undefined}>
        {word}: <b>{percent_text(made.prob_before)}</b> → <b>{percent_text(made.prob_after)}</b>
        <span class="muted">
          {" "}· loss {number_text(losses[0])} → {number_text(losses.at(-1))} in {losses.length} of {recipe.n_steps ?? 20} steps
          · the matrix writes {number_text(made.output_norm)} there · {number_text(made.secs)} s
        </span>
      </p>
      <div class="edit-sides">
        <Top name="Before" tokens={made.top_before} />
        <Top name="After" tokens={made.top_after} />
      </div>
      <Spill made={made} word={word} />
      {made.notice && <p class="muted" role="note">{made.notice}</p>}
    </>
  );
}

function Top({ name, tokens }: { name: string; tokens: readonly TopToken[] }): JSX.Element {
  return (
    <ol class="edit-top" aria-label={`${name} the edit`}>
      <li class="muted">{name}</li>
      {tokens.map(({ token_id, text, prob }) => (
        <li key={token_id} style={{ "--share": `${Math.round(prob * 100)}%` }}><span>{token_quote(text)}</span><span>{percent_text(prob)}</span></li>
      ))}
    </ol>
  );
}

function Spill({ made, word }: { made: Made; word: string }): JSX.Element | null {
  const { spillover } = made;
  if (spillover.length === 0) return null;
  const worst = Math.max(...spillover.map(({ kl }) => kl));
  const changed = spillover.filter((each) => each.top_before.token_id !== each.top_after.token_id).length;
  return (
    <details class="edit-spill" open={worst > MUCH}>
      <summary>
        Elsewhere: {changed === 0 ? "no prompt" : `${changed} of ${spillover.length} prompts`} with another likeliest word, KL at most{" "}
        {number_text(worst)} nats
      </summary>
      <table>
        <thead><tr><th>Prompt</th><th>KL</th><th>Likeliest</th><th>{word}</th></tr></thead>
        <tbody>
          {spillover.map(({ prompt, kl, top_before, top_after, wanted_before, wanted_after }) => (
            <tr key={prompt} data-much={kl > MUCH || undefined}>
              <td>{prompt}</td>
              <td class="number">{number_text(kl)}</td>
              <td>{top_before.token_id === top_after.token_id ? token_quote(top_after.text)
                : `${token_quote(top_before.text)} → ${token_quote(top_after.text)}`}</td>
              <td class="number">{percent_text(wanted_before)} → {percent_text(wanted_after)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </details>
  );
}
