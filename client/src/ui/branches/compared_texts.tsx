// Two texts side by side, with the first token where they part.
import type { JSX } from "preact";
import { first_difference } from "../../store/branches";
import type { TokenChip } from "../../store/types";
import { percent_text, token_quote, word_label } from "../format";

/** Tokens before the parting that are shown: enough to see where one is. */
const CONTEXT = 12;
/** Of one text: a run may go on for thousands of tokens while it is shown. */
const MAX_SHOWN = 300;

export interface NamedText {
  /** In the middle of a sentence: "run 2", "its clean twin". */
  name: string;
  tokens: readonly TokenChip[];
}

/** `is_growing`: not said aloud for every token, only where the texts part. */
export function ComparedTexts({ one, other, on_pick, is_growing = false }: {
  one: NamedText; other: NamedText; on_pick: (pos: number) => void; is_growing?: boolean;
}): JSX.Element {
  const at = first_difference(one.tokens, other.tokens);
  const n_same = at ?? Math.min(one.tokens.length, other.tokens.length);
  const from = Math.max(0, n_same - CONTEXT);
  return (
    <section class="branch-compared" aria-label="Two texts compared">
      <p role={is_growing && at === null ? undefined : "status"}>
        {at !== null
          ? <>{heading(one)} and {other.name} part at token <b id="parting">{at}</b>: {choice(one.tokens[at]!)} against {choice(other.tokens[at]!)}.</>
          : one.tokens.length === other.tokens.length
            ? <>{heading(one)} and {other.name} have the same {n_same} tokens.</>
            : <>The shorter of {one.name} and {other.name} is how the longer one begins: {n_same} tokens.</>}
      </p>
      <div class="branch-texts">
        {([[one, other], [other, one]] as const).map(([run, against]) => (
          <div key={run.name}>
            <h3>{heading(run)}</h3>
            <p class="branch-text">
              {n_same > CONTEXT && "… "}
              {run.tokens.slice(from, from + MAX_SHOWN).map((chip) => (
                <button type="button" class="link branch-token" key={chip.pos} data-differs={chip.token_id !== against.tokens[chip.pos]?.token_id || undefined}
                  title={`Token ${chip.pos}`} onClick={() => on_pick(chip.pos)}>{word_label(chip.text)}</button>
              ))}
              {run.tokens.length > from + MAX_SHOWN && ` … and ${run.tokens.length - from - MAX_SHOWN} more`}
            </p>
          </div>
        ))}
      </div>
    </section>
  );
}

const heading = ({ name }: NamedText): string => name.charAt(0).toUpperCase() + name.slice(1);

function choice(chip: TokenChip): string {
  return `${token_quote(chip.text)}${chip.logprob === null ? "" : ` (${percent_text(Math.exp(chip.logprob))})`}`;
}
