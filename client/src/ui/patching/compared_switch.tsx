// Which of two runs is shown, in the picture and in the tables: this one, the other, or what this one has more than the
// other or than its clean twin.
import type { JSX } from "preact";
import type { ComparedView } from "../../store/comparison";
import { has_twin } from "../../store/twin";
import { use_page } from "../page";

const VIEWS: { view: ComparedView; label: string; hint: string }[] = [
  { view: "own", label: "This run", hint: "As it is" },
  { view: "other", label: "Other", hint: "The other run's values at this token" },
  { view: "difference", label: "Difference", hint: "This run minus the other: orange more here, blue more there" },
  { view: "twin", label: "Δ clean", hint: "This run minus its clean twin, token by token: what the interventions do (key c)" },
];

export function ComparedSwitch(): JSX.Element | null {
  const { store } = use_page();
  const { comparison } = store.analysis;
  const [has_other, has_clean] = [comparison.other_run.value !== null, has_twin(store)];
  if (!has_other && !has_clean) return null;
  const shown = VIEWS.filter(({ view }) => view === "own" || (view === "twin" ? has_clean : has_other));
  return (
    <div class="segmented compared-switch" role="group" aria-label="Which run is shown">
      {shown.map(({ view, label, hint }) => (
        <button type="button" key={view} aria-pressed={comparison.view.value === view} title={hint}
          onClick={() => (comparison.view.value = view)}>{label}</button>
      ))}
    </div>
  );
}
