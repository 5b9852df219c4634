// The run's tokens as a table for a spreadsheet (RFC 4180).
import type { Store } from "../../store/store";

const N_TOP = 5;
const HEADER = ["position", "token_id", "token", "generated", "logprob", "entropy_nats", "revision"];

/**
 * Every token with what predicted it: `token` is JSON, so that spaces show and no spreadsheet takes it for a formula;
 * `logprob` and `entropy_nats` are of the prediction made at the position before, the top tokens likewise.
 */
export function tokens_csv(store: Store): string {
  const tops = Array.from({ length: N_TOP }, (_, i) => [`top${i + 1}`, `top${i + 1}_prob`]).flat();
  const rows = store.tokens.peek().map((chip) => {
    const before = store.history.get(chip.pos - 1);
    const revision = store.history.get(chip.pos)?.revision;
    const best = Array.from({ length: N_TOP }, (_, i) => before?.top_tokens[i]);
    return [
      chip.pos, chip.token_id, JSON.stringify(chip.text), chip.generated, chip.logprob, chip.entropy, revision,
      ...best.flatMap((top) => [top && JSON.stringify(top.text), top?.prob]),
    ];
  });
  return [[...HEADER, ...tops], ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

function cell(value: string | number | boolean | null | undefined): string {
  if (value === null || value === undefined) return "";
  const text = String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
