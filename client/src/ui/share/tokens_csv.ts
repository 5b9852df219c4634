// The table of tokens for a spreadsheet (RFC 4180).
import type { Cell, Column } from "./tokens_table";

/** `columns` as text; tokens are JSON, so that spaces show and no spreadsheet takes one for a formula. */
export function table_csv(columns: readonly Column[]): string {
  const n_rows = columns[0]?.data.length ?? 0;
  const rows = Array.from({ length: n_rows }, (_, at) =>
    columns.map(({ type, data }) => cell(type === "STRING" && data[at] !== null ? JSON.stringify(data[at]) : data[at]!)));
  return [columns.map(({ name }) => name), ...rows].map((row) => row.join(",")).join("\r\n") + "\r\n";
}

function cell(value: Cell): string {
  const text = value === null ? "" : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
