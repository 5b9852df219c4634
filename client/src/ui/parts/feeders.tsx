// Parts that are tied to this one by their weights, each a button that selects it.
import type { JSX } from "preact";
import { component_id } from "../../layout/component_id";
import type { Feeder } from "../../protocol/generated";
import { number_text } from "../format";
import { use_page } from "../page";

export function FeederButtons({ label, feeders }: { label: string; feeders: readonly Feeder[] }): JSX.Element {
  const { actions } = use_page();
  return (
    <div class="feeders">
      <span class="muted">{label}</span>
      <ul aria-label={label}>
        {feeders.map(({ component, score }) => (
          <li key={component_id(component)}>
            <button type="button" class="button small" onClick={() => actions.select(component)}>
              {component_id(component)} <span class="muted">{number_text(score, 2)}</span>
            </button>
          </li>
        ))}
        {feeders.length === 0 && <li class="muted">none</li>}
      </ul>
    </div>
  );
}
