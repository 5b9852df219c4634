// The one screen.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { NO_MODEL } from "../store/replay";
import { Announcer } from "./announcer";
import { Drawer } from "./drawer/drawer";
import { Help } from "./help";
import { Inspector } from "./inspector/inspector";
import { InterventionsPanel } from "./interventions_panel";
import { listen_to_keys } from "./keyboard";
import { Network } from "./network";
import { PageContext, type Page } from "./page";
import { DropPlace } from "./replay/drop_place";
import type { RunForm } from "./run/run_form";
import type { Shown } from "./shown_step";
import { TextStrip } from "./text/text_strip";
import { Toasts } from "./toasts";
import { TopBar } from "./run/top_bar";

interface Props {
  page: Page;
  form: RunForm;
  shown: Shown;
  toggle_theme: () => void;
}

export function App({ page, form, shown, toggle_theme }: Props): JSX.Element {
  useEffect(() => listen_to_keys(page), [page]);
  const is_recording = page.store.replay.value !== null;
  useEffect(() => page.state.parts.runs_seen.keep(page.store), [page]);
  return (
    <PageContext.Provider value={page}>
      <TopBar form={form} toggle_theme={toggle_theme} />
      <TextStrip />
      <Network />
      <aside class="side" aria-label="Selection and interventions">
        <Inspector shown={shown} />
        <fieldset class="plain" disabled={is_recording} title={is_recording ? NO_MODEL : undefined}>
          <InterventionsPanel />
        </fieldset>
      </aside>
      <Drawer shown={shown} />
      <DropPlace />
      <Toasts />
      <Announcer />
      <Help />
    </PageContext.Provider>
  );
}
