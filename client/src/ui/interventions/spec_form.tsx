// The fields of one intervention: the same for one that is being thought of and for one that is in force.
import type { JSX } from "preact";
import type { InterventionSpec } from "../../protocol/generated";
import { AMOUNT_RANGE, MAX_AMOUNT } from "./draft";
import { AmountField } from "./number_field";
import { PositionsField } from "./positions_field";
import { ReferenceField } from "./reference_field";
import { StreamField } from "./stream_field";
import { TurnFields } from "./turn_fields";

export type SpecChange = (spec: InterventionSpec) => InterventionSpec;
/** `moving`: a slider is on its way, more is to come; `rested`: it has come to rest; `once`: any other field. */
export type EditKind = "moving" | "rested" | "once";

interface Props {
  spec: InterventionSpec;
  /** What is missing or wrong; said under the fields. */
  problem?: string | null;
  /** Told what becomes of the intervention as it is, which may be more than was drawn. */
  edit(change: SpecChange, kind: EditKind): void;
}

export function SpecForm({ spec, problem = null, edit }: Props): JSX.Element {
  const range = AMOUNT_RANGE[spec.operation];
  const once = (change: SpecChange): void => edit(change, "once");
  const to = (amount: number): SpecChange => (held) => ({ ...held, amount });
  return (
    <div class="spec-form">
      {range && (
        <AmountField label={range.name} value={spec.amount} min={range.min} max={range.max} step={range.step} most={MAX_AMOUNT}
          on_move={(amount) => edit(to(amount), "moving")} on_rest={(amount) => edit(to(amount), "rested")} />
      )}
      {spec.operation === "add_direction" && <UnitField unit={spec.unit ?? "direction"} edit={once} />}
      {(spec.stream?.length ?? 0) > 0 && (
        <StreamField places={spec.stream!} edit={(stream) => once((held) => ({ ...held, stream }))} />
      )}
      {(spec.operation === "mean" || spec.operation === "resample") && (
        <ReferenceField spec={spec} edit={(change) => once((held) => ({ ...held, reference: change(held.reference ?? {}) }))} />
      )}
      {spec.attention && <TurnFields draft={spec} edit={once} />}
      <PositionsField positions={spec.positions}
        edit={(change) => once((held) => ({ ...held, positions: change(held.positions) }))} />
      {problem && <p class="field-problem" role="alert">{problem}</p>}
    </div>
  );
}

type Unit = NonNullable<InterventionSpec["unit"]>;

function UnitField({ unit, edit }: { unit: Unit; edit(change: SpecChange): void }): JSX.Element {
  return (
    <label class="field-row">
      <span>times</span>
      <select value={unit} aria-label="Unit of the strength" onChange={(event) => {
        const chosen = event.currentTarget.value as Unit;
        edit((held) => ({ ...held, unit: chosen }));
      }}>
        <option value="direction">the direction as it is</option>
        <option value="norm">the direction at length 1</option>
        <option value="stream">the stream's own length</option>
      </select>
    </label>
  );
}
