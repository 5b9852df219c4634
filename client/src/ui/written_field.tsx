// Fields whose text is taken when they are left or Enter is pressed. What is being written stays while the page around
// them is drawn anew, as it is with every token of a run.
import { useSignal } from "@preact/signals";
import type { JSX, Ref, TextareaHTMLAttributes } from "preact";

interface Writing {
  shown: string | number;
  write(text: string): void;
  /** What holds is shown again, also where what was written was not taken. */
  settle(): void;
}

function use_writing(value: string | number): Writing {
  const writing = useSignal<string | null>(null);
  const n_settled = useSignal(0);
  void n_settled.value;
  return {
    shown: writing.value ?? value,
    write: (text) => (writing.value = text),
    settle: () => {
      writing.value = null;
      n_settled.value++;
    },
  };
}

interface InputProps {
  value: string | number;
  on_written(text: string): void;
  field?: Ref<HTMLInputElement>;
  class?: string;
  min?: number;
  max?: number;
  step?: number;
  placeholder?: string;
  title?: string;
  "aria-label"?: string;
  "aria-invalid"?: boolean | undefined;
}

export function NumberWritten({ value, on_written, field, ...rest }: InputProps): JSX.Element {
  const { shown, write, settle } = use_writing(value);
  return (
    <input {...rest} type="number" ref={field ?? null} value={shown} onInput={(event) => write(event.currentTarget.value)}
      onChange={(event) => {
        on_written(event.currentTarget.value.trim());
        settle();
      }} />
  );
}

type AreaProps = Omit<TextareaHTMLAttributes<HTMLTextAreaElement>, "value"> & {
  value: string;
  on_written(text: string): void;
};

export function TextWritten({ value, on_written, ...rest }: AreaProps): JSX.Element {
  const { shown, write, settle } = use_writing(value);
  return (
    <textarea {...rest} value={shown} onInput={(event) => write(event.currentTarget.value)}
      onChange={(event) => {
        on_written(event.currentTarget.value);
        settle();
      }} />
  );
}
