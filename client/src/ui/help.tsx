import type { JSX } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { KEY_HELP } from "./keyboard";
import { IconButton } from "./icons";
import { use_page } from "./page";

export function Help(): JSX.Element {
  const { state } = use_page();
  const dialog = useRef<HTMLDialogElement>(null);
  const open = state.help_open.value;
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <dialog class="help" ref={dialog} aria-labelledby="help-title" onClose={() => (state.help_open.value = false)}>
      {open && <HelpText />}
    </dialog>
  );
}

function HelpText(): JSX.Element {
  const { state } = use_page();
  return (
    <>
      <div class="section-head">
        <h2 id="help-title">Keyboard and mouse</h2>
        <IconButton icon="close" label="Close" onClick={() => (state.help_open.value = false)} />
      </div>
      <dl class="key-help">
        {KEY_HELP.map(({ keys, does }) => (
          <div key={keys}>
            <dt>{keys.split(" ").map((key) => <kbd key={key}>{key}</kbd>)}</dt>
            <dd>{does}</dd>
          </div>
        ))}
      </dl>
      <p class="muted">
        In the picture: drag turns, right drag moves, the wheel zooms; click selects, double click flies there,
        Alt+click switches a component off or on. Drag from one token’s label to another to turn the selected head’s
        attention there.
      </p>
      <label class="check">
        <input type="checkbox" checked={state.letter_keys.value}
          onChange={(event) => (state.letter_keys.value = event.currentTarget.checked)} />
        <span>Single letters and digits act as keys</span>
      </label>
    </>
  );
}
