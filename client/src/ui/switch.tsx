import type { ComponentChildren, JSX } from "preact";

interface Props {
  checked: boolean;
  label: string;
  on_change: (checked: boolean) => void;
  id?: string;
  disabled?: boolean;
  children?: ComponentChildren;
}

/** An on/off switch: a real button, its state told by place, colour and name. */
export function Switch({ checked, label, on_change, id, disabled, children }: Props): JSX.Element {
  return (
    <button type="button" role="switch" class="switch" id={id} aria-checked={checked} aria-label={label}
      disabled={disabled} onClick={() => on_change(!checked)}>
      <i aria-hidden="true" />
      {children}
    </button>
  );
}
