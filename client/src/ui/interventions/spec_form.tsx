// The fields of one intervention: the same for one that is being thought of and for one that is in force.
import type { JSX } from "preact";
import type { InterventionSpec } from "../../protocol/generated";
import { AMOUNT_RANGE, MAX_AMOUNT } from "./draft";
import { AmountField } from "./number_field";
import { PositionsField } from "./positions_field";
import { ReferenceField } from "./reference_field";

interface Props {
  spec: InterventionSpec;
  /** `is_moving`: a slider is on its way, more is to come. */
  edit(spec: InterventionSpec, is_moving: boolean): void;
}

export function SpecForm({ spec, edit }: Props): JSX.Element {
  const range = AMOUNT_RANGE[spec.operation];
  return (
    <div class="spec-form">
      {range && (
        <AmountField label={range.name} value={spec.amount} min={range.min} max={range.max} step={range.step} most={MAX_AMOUNT}
          on_move={(amount) => edit({ ...spec, amount }, true)} on_rest={(amount) => edit({ ...spec, amount }, false)} />
      )}
      {spec.operation === "add_direction" && <UnitField spec={spec} edit={(next) => edit(next, false)} />}
      {(spec.operation === "mean" || spec.operation === "resample") && (
        <ReferenceField spec={spec} edit={(reference) => edit({ ...spec, reference }, false)} />
      )}
      {spec.attention && spec.operation === "attention_knockout" && (
        <label class="check">
          <input type="checkbox" checked={spec.attention.renormalise !== false}
            onChange={(event) => edit({ ...spec, attention: { ...spec.attention!, renormalise: event.currentTarget.checked } }, false)} />
          scale the rest up to 100 %
        </label>
      )}
      <PositionsField positions={spec.positions} edit={(positions) => edit({ ...spec, positions }, false)} />
    </div>
  );
}

function UnitField({ spec, edit }: { spec: InterventionSpec; edit(spec: InterventionSpec): void }): JSX.Element {
  return (
    <label class="field-row">
      <span>times</span>
      <select value={spec.unit ?? "direction"} aria-label="Unit of the strength"
        onChange={(event) => edit({ ...spec, unit: event.currentTarget.value as NonNullable<InterventionSpec["unit"]> })}>
        <option value="direction">the direction as it is</option>
        <option value="norm">the direction at length 1</option>
        <option value="stream">the stream's own length</option>
      </select>
    </label>
  );
}
