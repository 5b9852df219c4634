// Tokens that something raises or lowers, strongest first, each with its number.
import type { JSX } from "preact";
import type { TopToken } from "../../protocol/generated";
import { number_text, signed_text, token_label } from "../format";

interface Props {
  label: string;
  tokens: readonly TopToken[];
  /** Whether the numbers are changes, shown with their sign. */
  is_signed?: boolean;
  most?: number;
}

/** A row of tokens in running text; `prob` is the logit or weight, as the answer says. */
export function TokenWords({ label, tokens, is_signed = true, most = tokens.length }: Props): JSX.Element {
  return (
    <div class="token-words">
      <span class="muted">{label}</span>
      <ul aria-label={label}>
        {tokens.slice(0, most).map((token) => (
          <li key={token.token_id}>
            <span class="token">{token_label(token.text)}</span>{" "}
            <span class="number" data-sign={is_signed ? Math.sign(token.prob) : undefined}>
              {is_signed ? signed_text(token.prob) : number_text(token.prob)}
            </span>
          </li>
        ))}
        {tokens.length === 0 && <li class="muted">none</li>}
      </ul>
    </div>
  );
}
