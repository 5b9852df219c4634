// The habits of a head that are measured: what each number means, and when it misleads.
import type { HeadScore } from "../../protocol/generated";

export type ScoreName = Exclude<keyof HeadScore, "layer" | "head_index">;

export interface ScoreWords {
  name: ScoreName;
  label: string;
  means: string;
  misleads: string;
}

export const SCORES: readonly ScoreWords[] = [
  {
    name: "previous_token",
    label: "Previous token",
    means: "Attention to the token just before, on random tokens.",
    misleads: "High also for a head that looks at near tokens in general.",
  },
  {
    name: "duplicate_token",
    label: "Duplicate token",
    means: "Attention to the same token where it stood before.",
    misleads: "Random tokens repeat exactly; words of a text come back in other forms.",
  },
  {
    name: "induction",
    label: "Induction",
    means: "Attention to the token that followed the same token before.",
    misleads: "Says where it looks, not that it copies: see copying, and ablate it.",
  },
  {
    name: "copying",
    label: "Copying",
    means: "Share of its OV circuit that raises the token it reads: 1 all of it, −1 lowers it.",
    misleads: "Of the weights alone: layer norms and what other layers put on a token are left out.",
  },
];
