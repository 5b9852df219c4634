import type { JSX } from "preact";
import type { TopToken } from "../../protocol/generated";
import { percent_text, token_label } from "../format";

interface Props {
  tokens: readonly TopToken[];
  chosen_id: number | null;
  /** Another prediction of the same token: a tick on each bar says how likely it was there. */
  beside?: readonly TopToken[];
}

/** Candidates for the next token with bars as long as their probability. */
export function ProbBars({ tokens, chosen_id, beside }: Props): JSX.Element {
  const there = new Map(beside?.map(({ token_id, prob }) => [token_id, prob]));
  return (
    <ol class="prob-bars">
      {tokens.map((token) => (
        <li key={token.token_id} data-chosen={token.token_id === chosen_id || undefined}>
          <span class="bar" style={{ width: `${Math.min(100, 100 * token.prob)}%` }} />
          {there.has(token.token_id) && <span class="tick" style={{ left: `${Math.min(100, 100 * there.get(token.token_id)!)}%` }} />}
          <span class="token">{token_label(token.text)}</span>
          {token.token_id === chosen_id && <span class="chosen-mark">chosen</span>}
          <span class="prob">{percent_text(token.prob)}</span>
        </li>
      ))}
    </ol>
  );
}
