// Two texts side by side, with the first token where they part.
import type { JSX } from "preact";
import { first_difference, type KnownRun } from "../../store/branches";
import type { TokenChip } from "../../store/types";
import { percent_text, token_quote, word_label } from "../format";

/** Tokens before the parting that are shown: enough to see where one is. */
const CONTEXT = 12;

export function ComparedTexts({ one, other, on_pick }: {
  one: KnownRun; other: KnownRun; on_pick: (pos: number) => void;
}): JSX.Element {
  const at = first_difference(one.tokens, other.tokens);
  const n_same = at ?? Math.min(one.tokens.length, other.tokens.length);
  return (
    <section class="branch-compared" aria-label="Two runs compared">
      <p role="status">
        {at !== null
          ? <>Runs {one.number} and {other.number} part at token <b id="parting">{at}</b>: {choice(one.tokens[at]!)} against {choice(other.tokens[at]!)}.</>
          : one.tokens.length === other.tokens.length
            ? <>Runs {one.number} and {other.number} have the same {n_same} tokens.</>
            : <>The shorter of runs {one.number} and {other.number} is how the longer one begins: {n_same} tokens.</>}
      </p>
      <div class="branch-texts">
        {([[one, other], [other, one]] as const).map(([run, against]) => (
          <div key={run.run_id}>
            <h3>Run {run.number}</h3>
            <p class="branch-text">
              {n_same > CONTEXT && "… "}
              {run.tokens.slice(Math.max(0, n_same - CONTEXT)).map((chip) => (
                <button type="button" class="link branch-token" key={chip.pos} data-differs={chip.token_id !== against.tokens[chip.pos]?.token_id || undefined}
                  title={`Token ${chip.pos}`} onClick={() => on_pick(chip.pos)}>{word_label(chip.text)}</button>
              ))}
            </p>
          </div>
        ))}
      </div>
    </section>
  );
}

function choice(chip: TokenChip): string {
  return `${token_quote(chip.text)}${chip.logprob === null ? "" : ` (${percent_text(Math.exp(chip.logprob))})`}`;
}
