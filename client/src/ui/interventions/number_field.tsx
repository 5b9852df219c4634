// A number as a slider and a field; both tell while they move and when they rest.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";

interface Props {
  label: string;
  value: number;
  min: number;
  max: number;
  step: number;
  /** Outside of the slider's reach the field goes on to this. */
  most: number;
  disabled?: boolean;
  on_move(value: number): void;
  on_rest(value: number): void;
}

export function AmountField({ label, value, min, max, step, most, disabled, on_move, on_rest }: Props): JSX.Element {
  const text = useSignal(String(value));
  useEffect(() => {
    if (Number(text.peek()) !== value) text.value = String(value);
  }, [value]);
  const read = (written: string): number | null => {
    const read_value = written.trim() === "" ? NaN : Number(written);
    return Number.isFinite(read_value) && Math.abs(read_value) <= most ? read_value : null;
  };
  const tell = (written: string, to: (value: number) => void): void => {
    text.value = written;
    const number = read(written);
    if (number !== null) to(number);
  };
  const is_wrong = read(text.value) === null;
  return (
    <div class="scale-row" data-wrong={is_wrong || undefined}>
      <span aria-hidden="true">{label}</span>
      <input type="range" min={min} max={max} step={step} value={text.value} disabled={disabled} aria-label={`${label}, slider`}
        onInput={(event) => tell(event.currentTarget.value, on_move)} onChange={(event) => tell(event.currentTarget.value, on_rest)} />
      <input type="number" min={-most} max={most} step={step} value={text.value} disabled={disabled} aria-label={label}
        aria-invalid={is_wrong || undefined}
        onInput={(event) => tell(event.currentTarget.value, on_move)} onChange={(event) => tell(event.currentTarget.value, on_rest)} />
      {is_wrong && <span class="field-problem" role="alert">A number from −{most} to {most}.</span>}
    </div>
  );
}
