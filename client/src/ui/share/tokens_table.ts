// The run's tokens as columns: what every format of the table of tokens holds.
import type { TwinStep } from "../../protocol/generated";
import type { Store } from "../../store/store";

const N_TOP = 5;

export type ColumnType = "INT32" | "DOUBLE" | "BOOLEAN" | "STRING";
export type Cell = number | boolean | string | null;

export interface Column {
  name: string;
  type: ColumnType;
  data: Cell[];
}

/**
 * Every token with what predicted it: `logprob` and `entropy_nats` are of the prediction made at the position before,
 * the top tokens likewise, and what the clean twin (twin_*) made of the same token. What is not known is null.
 */
export function tokens_table(store: Store): Column[] {
  const chips = store.tokens.peek();
  const column = (name: string, type: ColumnType, value: (at: number) => Cell | undefined): Column =>
    ({ name, type, data: chips.map((_, at) => value(at) ?? null) });
  const top = (at: number, i: number): { text: string; prob: number } | undefined =>
    store.history.get(chips[at]!.pos - 1)?.top_tokens[i];
  const twin = (at: number): TwinStep | null | undefined => store.history.get(chips[at]!.pos - 1)?.twin;
  return [
    column("position", "INT32", (at) => chips[at]!.pos),
    column("token_id", "INT32", (at) => chips[at]!.token_id),
    column("token", "STRING", (at) => chips[at]!.text),
    column("generated", "BOOLEAN", (at) => chips[at]!.generated),
    column("logprob", "DOUBLE", (at) => chips[at]!.logprob),
    column("entropy_nats", "DOUBLE", (at) => chips[at]!.entropy),
    column("revision", "INT32", (at) => store.history.get(chips[at]!.pos)?.revision),
    ...Array.from({ length: N_TOP }, (_, i) => [
      column(`top${i + 1}`, "STRING", (at) => top(at, i)?.text),
      column(`top${i + 1}_prob`, "DOUBLE", (at) => top(at, i)?.prob),
    ]).flat(),
    column("twin_kl_nats", "DOUBLE", (at) => twin(at)?.kl),
    column("twin_logprob", "DOUBLE", (at) => twin(at)?.logprob),
    column("twin_entropy_nats", "DOUBLE", (at) => twin(at)?.entropy),
    column("twin_prefers", "STRING", (at) => twin(at)?.prefers_text),
  ];
}
