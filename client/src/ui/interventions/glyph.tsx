// The shape that marks a change in the picture, beside its words.
import type { JSX } from "preact";
import type { Alteration } from "../../layout/alterations";

const SHAPES: Record<Alteration, { path: string; words: string }> = {
  off: { path: "M3 3 11 11M11 3 3 11", words: "cross" },
  scaled: { path: "M7 2.5 12 11H2z", words: "triangle" },
  replaced: { path: "M7 1.5 12.5 7 7 12.5 1.5 7z", words: "diamond" },
  attention: { path: "M9.5 2 4.5 7l5 5", words: "chevron" },
  added: { path: "M7 2v10M2 7h10", words: "plus" },
  removed: { path: "M2 7h10", words: "minus" },
};

export function Glyph({ how }: { how: Alteration }): JSX.Element {
  const { path, words } = SHAPES[how];
  return (
    <svg class="glyph" viewBox="0 0 14 14" width="14" height="14" role="img" aria-label={`marked with a ${words} in the picture`}>
      <path d={path} fill="none" stroke="currentColor" stroke-width="2" />
    </svg>
  );
}
