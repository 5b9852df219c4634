// The inspector's closed door to a profile: nothing is asked until it is opened.
import type { JSX } from "preact";
import type { Component } from "../../protocol/generated";
import { use_page } from "../page";
import type { Shown } from "../shown_step";
import { HeadProfile } from "./head_profile";
import { NeuronProfile } from "./neuron_profile";

export function PartSection({ component, shown }: { component: Component; shown: Shown }): JSX.Element | null {
  const { state } = use_page();
  const open = state.parts.profile_open.value;
  if (component.kind !== "head" && component.kind !== "neuron") return null;
  const label = component.kind === "head" ? "What this head does" : "What this neuron does";
  return (
    <section class="part-section" aria-label={label}>
      <button type="button" class="section-toggle" aria-expanded={open} id="profile-toggle"
        onClick={() => (state.parts.profile_open.value = !open)}>
        <span aria-hidden="true">{open ? "▾" : "▸"}</span> {label}
      </button>
      {open && component.kind === "head" && <HeadProfile head={component} shown={shown} />}
      {open && component.kind === "neuron" && <NeuronProfile neuron={component} />}
    </section>
  );
}
