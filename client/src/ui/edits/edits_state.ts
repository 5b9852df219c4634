// What the Edits tab remembers: what is being written, and the edits that this page has made or opened.
import { signal, type Signal } from "@preact/signals";
import type { RankOneEditInfo, RankOneRecipe } from "../../protocol/generated";
import type { Question, RankOneEditAnswer } from "../../protocol/questions";
import { Inquiry } from "../../store/inquiry";

/** What the server measured when it made an edit. */
export type Made = Pick<RankOneEditAnswer,
  "tokens" | "key_pos" | "wanted_tokens" | "prob_before" | "prob_after" | "top_before" | "top_after" | "losses" | "output_norm"
  | "spillover" | "notice" | "secs">;

/** A rank-1 edit as this page holds it: what the server says of it, and its numbers. */
export interface HeldEdit {
  info: RankOneEditInfo;
  /** float32 [d_in] and [d_model]. */
  key: Float32Array;
  value: Float32Array;
  /** None for one from a file or a set, and after a reload. */
  made: Made | null;
}

export interface EditDraft {
  /** The run's own text, or one that is typed. */
  source: Signal<"run" | "typed">;
  prompt: Signal<string>;
  /** The subject's last token: a position of the run; of a typed prompt, the end of a word in characters. */
  key_pos: Signal<number | null>;
  word_end: Signal<number | null>;
  wanted: Signal<string>;
  layer: Signal<string>;
  matrix: Signal<RankOneRecipe["matrix"]>;
  head: Signal<string>;
  covariance: Signal<NonNullable<RankOneRecipe["covariance"]>>;
  n_steps: Signal<string>;
  clamp: Signal<string>;
  prefixes: Signal<string>;
  spillover: Signal<string>;
}

export interface EditsState {
  /** Newest first. */
  held: Signal<readonly HeldEdit[]>;
  draft: EditDraft;
  inquiry: Inquiry<Extract<Question, { type: "request_rank_one_edit" }>>;
  /** Why the file that was opened last is no edit. */
  problem: Signal<string | null>;
}

export function create_edits_state(): EditsState {
  return {
    held: signal<readonly HeldEdit[]>([]),
    draft: {
      source: signal<"run" | "typed">("run"), prompt: signal(""), key_pos: signal<number | null>(null),
      word_end: signal<number | null>(null), wanted: signal(""), layer: signal(""),
      matrix: signal<RankOneRecipe["matrix"]>("mlp_out"), head: signal(""),
      covariance: signal<NonNullable<RankOneRecipe["covariance"]>>("built_in"), n_steps: signal("20"), clamp: signal("4"),
      prefixes: signal(""), spillover: signal(""),
    },
    inquiry: new Inquiry(),
    problem: signal<string | null>(null),
  };
}
