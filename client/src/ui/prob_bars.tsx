import type { JSX } from "preact";
import type { TopToken } from "../protocol/generated";
import { percent_text, token_label } from "./format";

/** Candidates for the next token with bars as long as their probability. */
export function ProbBars({ tokens, chosen_id }: { tokens: readonly TopToken[]; chosen_id: number | null }): JSX.Element {
  return (
    <ol class="prob-bars">
      {tokens.map((token) => (
        <li key={token.token_id} data-chosen={token.token_id === chosen_id || undefined}>
          <span class="bar" style={{ width: `${Math.min(100, 100 * token.prob)}%` }} />
          <span class="token">{token_label(token.text)}</span>
          {token.token_id === chosen_id && <span class="chosen-mark">chosen</span>}
          <span class="prob">{percent_text(token.prob)}</span>
        </li>
      ))}
    </ol>
  );
}
