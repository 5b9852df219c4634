// Which of the views of what lies at a token is open.
import type { JSX } from "preact";
import { use_page } from "../page";
import type { LensViewName } from "./lens_state";

const VIEWS: { view: LensViewName; label: string; hint: string }[] = [
  { view: "layers", label: "Layers", hint: "What the model would say after each layer, for every token" },
  { view: "heads", label: "Heads", hint: "What each head writes at the shown token, in words" },
  { view: "paths", label: "Paths in 3D", hint: "The residual stream's way through the layers, in the picture" },
  { view: "entropy", label: "Entropy of looks", hint: "How widely each head looks from the shown token" },
];

export function ViewSwitch(): JSX.Element {
  const { view } = use_page().state.lens;
  return (
    <div class="segmented lens-views" role="group" aria-label="What is looked into">
      {VIEWS.map((item) => (
        <button type="button" key={item.view} aria-pressed={view.value === item.view} title={item.hint}
          onClick={() => (view.value = item.view)}>{item.label}</button>
      ))}
    </div>
  );
}
