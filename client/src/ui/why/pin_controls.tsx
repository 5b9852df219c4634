// Keeping hold of a node: pinned nodes stay in the graph whatever the threshold, with a name and a group of one's own.
import type { JSX } from "preact";
import { use_page } from "../page";

export function PinControls({ node }: { node: string }): JSX.Element {
  const { walk } = use_page().store.analysis;
  const pin = walk.pins.value.get(node) ?? null;
  const groups = [...new Set([...walk.pins.value.values()].map((one) => one.group).filter(Boolean))];
  return (
    <span class="why-pin">
      <button type="button" class="button small" aria-pressed={pin !== null}
        title="Pinned nodes stay in the graph, whatever the threshold"
        onClick={() => walk.pin(node, pin ? null : { name: "", group: "" })}>{pin ? "Pinned" : "Pin"}</button>
      {pin && (
        <>
          <input type="text" class="why-token" aria-label={`Name of ${node}`} placeholder="name" maxLength={60} value={pin.name}
            onChange={(event) => walk.pin(node, { ...pin, name: event.currentTarget.value })} />
          <input type="text" class="why-token" aria-label={`Group of ${node}`} placeholder="group" maxLength={60} value={pin.group}
            list="why-groups" onChange={(event) => walk.pin(node, { ...pin, group: event.currentTarget.value })} />
          <datalist id="why-groups">{groups.map((group) => <option key={group} value={group} />)}</datalist>
        </>
      )}
    </span>
  );
}
