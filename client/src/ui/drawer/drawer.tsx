// The panels below the picture.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { AttentionMap } from "./attention_map";
import { BranchesPanel } from "../branches/branches_panel";
import { ComponentTable } from "./component_table";
import { EditsPanel } from "../edits/edits_panel";
import { IconButton } from "../icons";
import { DirectionsPanel } from "../interventions/directions_panel";
import { TurnPanel } from "../interventions/turn_panel";
import { LensTable } from "./lens_table";
import { NextTokens } from "./next_tokens";
import { use_page, type DrawerTab } from "../page";
import { CausalMap } from "../parts/causal_map";
import { HeadFinder } from "../parts/head_finder";
import { PatchingPanel } from "../patching/patching_panel";
import type { Shown } from "../shown_step";
import { TwinPanel } from "../twin/twin_panel";
import { WhyPanel } from "../why/why_panel";

const TABS: { tab: DrawerTab; label: string }[] = [
  { tab: "components", label: "Components" },
  { tab: "lens", label: "Logit lens" },
  { tab: "next", label: "Next tokens" },
  { tab: "attention", label: "Attention" },
  { tab: "heads", label: "Head finder" },
  { tab: "causal", label: "Causal map" },
  { tab: "patching", label: "Two prompts" },
  { tab: "why", label: "Why" },
  { tab: "turn", label: "Turn attention" },
  { tab: "directions", label: "Directions" },
  { tab: "edits", label: "Edits" },
  { tab: "branches", label: "Branches" },
  { tab: "twin", label: "Clean twin" },
];

export function Drawer({ shown }: { shown: Shown }): JSX.Element {
  const { state } = use_page();
  const [open, tall, tab] = [state.drawer_open.value, state.drawer_tall.value, state.tab.value];
  // A key or a switch elsewhere may choose a tab that is scrolled away.
  useEffect(() => document.getElementById(`tab-${tab}`)?.scrollIntoView({ block: "nearest", inline: "nearest" }), [tab]);
  return (
    <section class="drawer panel" aria-label="Details" data-open={open} data-tall={(open && tall) || undefined}>
      <div class="drawer-bar">
        <div class="tabs" role="tablist" aria-label="Details" onKeyDown={(event) => walk_tabs(event, tab, state.tab)}>
          {TABS.map(({ tab: own, label }) => (
            <button type="button" role="tab" key={own} id={`tab-${own}`} aria-selected={tab === own}
              aria-controls={open ? "drawer-panel" : undefined} tabIndex={tab === own ? 0 : -1}
              onClick={() => {
                state.drawer_open.value = true;
                state.tab.value = own;
              }}>{label}</button>
          ))}
        </div>
        <span class="drawer-tools">
          {open && (
            <button type="button" class="button small" aria-pressed={tall}
              onClick={() => (state.drawer_tall.value = !tall)}>{tall ? "Smaller" : "Larger"}</button>
          )}
          <IconButton icon={open ? "down" : "up"} label={open ? "Close the panel" : "Open the panel"}
            onClick={() => (state.drawer_open.value = !open)} />
        </span>
      </div>
      {open && (
        <div class="drawer-panel" role="tabpanel" id="drawer-panel" aria-labelledby={`tab-${tab}`}>
          {tab === "components" && <ComponentTable shown={shown} />}
          {tab === "lens" && <LensTable shown={shown} />}
          {tab === "next" && <NextTokens shown={shown} />}
          {tab === "branches" && <BranchesPanel />}
          {tab === "attention" && <AttentionMap shown={shown} />}
          {tab === "heads" && <HeadFinder shown={shown} />}
          {tab === "causal" && <CausalMap shown={shown} />}
          {tab === "patching" && <PatchingPanel shown={shown} />}
          {tab === "why" && <WhyPanel shown={shown} />}
          {tab === "directions" && <DirectionsPanel />}
          {tab === "edits" && <EditsPanel />}
          {tab === "twin" && <TwinPanel shown={shown} />}
          {tab === "turn" && <TurnPanel shown={shown} />}
        </div>
      )}
    </section>
  );
}

function walk_tabs(event: KeyboardEvent, tab: DrawerTab, chosen: { value: DrawerTab }): void {
  const by = event.key === "ArrowRight" ? 1 : event.key === "ArrowLeft" ? -1 : 0;
  if (by === 0) return;
  event.preventDefault();
  event.stopPropagation();
  const at = TABS.findIndex((item) => item.tab === tab);
  const next = TABS[(at + by + TABS.length) % TABS.length]!;
  chosen.value = next.tab;
  document.getElementById(`tab-${next.tab}`)?.focus();
}
