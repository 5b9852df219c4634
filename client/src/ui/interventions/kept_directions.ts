// Directions over a reload: kept in this browser, of the model that they are of.
import type { ModelInfo } from "../../protocol/generated";
import { keep_list, kept_list } from "../kept_list";
import { read_written, written } from "./direction_text";
import type { HeldDirection } from "./held_direction";

export const keep_directions = (held: readonly HeldDirection[], info: ModelInfo | null): void =>
  keep_list("directions", held.map(written), info);

/** What was kept for the model of `info`; what cannot be read is left out. */
export const kept_directions = (info: ModelInfo): HeldDirection[] =>
  kept_list("directions", info, (entry) => read_written(entry, info.d_model));
