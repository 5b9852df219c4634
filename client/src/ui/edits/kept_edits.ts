// Rank-1 edits over a reload: kept in this browser, of the model that they are of.
import type { ModelInfo } from "../../protocol/generated";
import { keep_list, kept_list } from "../kept_list";
import { read_written_edit, why_not_of, written_edit } from "./edit_text";
import type { HeldEdit } from "./edits_state";

export const keep_edits = (held: readonly HeldEdit[], info: ModelInfo | null): void =>
  keep_list("edits", held.map(written_edit), info);

/** What was kept for the model of `info`; what cannot be read, or is not of it, is left out. */
export const kept_edits = (info: ModelInfo): HeldEdit[] => kept_list("edits", info, (entry) => {
  const held = read_written_edit(entry, info);
  return typeof held === "string" || why_not_of(held, info) ? null : held;
});
