// Which of two runs is shown, in the picture and in the tables: this one, the other, or what this one has more.
import type { JSX } from "preact";
import type { ComparedView } from "../../store/comparison";
import { use_page } from "../page";

const VIEWS: { view: ComparedView; label: string; hint: string }[] = [
  { view: "own", label: "This run", hint: "As it is" },
  { view: "other", label: "Other", hint: "The other run's values at this token" },
  { view: "difference", label: "Difference", hint: "This run minus the other: orange more here, blue more there" },
];

export function ComparedSwitch(): JSX.Element | null {
  const { store } = use_page();
  const { comparison } = store.analysis;
  if (!comparison.other_run.value) return null;
  return (
    <div class="segmented compared-switch" role="group" aria-label="Which run is shown">
      {VIEWS.map(({ view, label, hint }) => (
        <button type="button" key={view} aria-pressed={comparison.view.value === view} title={hint}
          onClick={() => (comparison.view.value = view)}>{label}</button>
      ))}
    </div>
  );
}
