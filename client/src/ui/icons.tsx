import type { JSX } from "preact";

const PATHS = {
  run: "M5 3.5v9l8-4.5z",
  pause: "M4.5 3.5h2.5v9H4.5zM9 3.5h2.5v9H9z",
  step: "M3.5 3.5v9l6.5-4.5zM11 3.5h2v9h-2z",
  stop: "M4 4h8v8H4z",
  close: "M4.2 3.3 8 7.1l3.8-3.8.9.9L8.9 8l3.8 3.8-.9.9L8 8.9l-3.8 3.8-.9-.9L7.1 8 3.3 4.2z",
  up: "M8 4.5 13 10l-1 1-4-4.4L4 11l-1-1z",
  down: "M8 11.5 3 6l1-1 4 4.4L12 5l1 1z",
  left: "M4.5 8 10 3l1 1-4.4 4L11 12l-1 1z",
  right: "M11.5 8 6 13l-1-1 4.4-4L5 4l1-1z",
  plus: "M7.3 3h1.4v4.3H13v1.4H8.7V13H7.3V8.7H3V7.3h4.3z",
  minus: "M3 7.3h10v1.4H3z",
  undo: "M6 3 2.5 6.5 6 10V7.5h3a2.2 2.2 0 0 1 0 4.5H6v1.5h3a3.7 3.7 0 0 0 0-7.5H6z",
  redo: "M10 3 13.5 6.5 10 10V7.5H7a2.2 2.2 0 0 0 0 4.5h3v1.5H7a3.7 3.7 0 0 1 0-7.5h3z",
  theme: "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 1.4v9.2a4.6 4.6 0 0 1 0-9.2z",
  link: "M6.6 9.4a2.6 2.6 0 0 1 0-3.7l2.2-2.2a2.6 2.6 0 0 1 3.7 3.7l-1 1-1-1 1-1a1.2 1.2 0 0 0-1.7-1.7L7.6 6.7a1.2 1.2 0 0 0 0 1.7zm2.8-2.8a2.6 2.6 0 0 1 0 3.7l-2.2 2.2a2.6 2.6 0 0 1-3.7-3.7l1-1 1 1-1 1a1.2 1.2 0 0 0 1.7 1.7l2.2-2.2a1.2 1.2 0 0 0 0-1.7z",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }): JSX.Element {
  return (
    <svg class="icon" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
      <path d={PATHS[name]} fill="currentColor" />
    </svg>
  );
}

interface IconButtonProps {
  icon: IconName;
  label: string;
  onClick: () => void;
  keys?: string;
  disabled?: boolean;
}

/** A square button whose name is spoken and shown on hover. */
export function IconButton({ icon, label, onClick, keys, disabled }: IconButtonProps): JSX.Element {
  const title = keys ? `${label} (${keys})` : label;
  return (
    <button type="button" class="icon-button" title={title} aria-label={label} onClick={onClick} disabled={disabled}>
      <Icon name={icon} />
    </button>
  );
}
