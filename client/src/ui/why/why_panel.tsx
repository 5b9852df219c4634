// "Why this token, and not that one?": the question on top, the walk on the left, the whole on the right.
import type { JSX } from "preact";
import { missing_analysis } from "../../store/capabilities";
import { use_page } from "../page";
import type { Shown } from "../shown_step";
import { Contributions } from "./contributions";
import { GraphView } from "./graph_view";
import { HeadMap } from "./head_map";
import { LayerLine } from "./layer_line";
import { LiveCausal, LiveSwitch } from "./live_causal";
import { NodePanel } from "./node_panel";
import { OpenedBar, take_dropped } from "./opened_bar";
import { QuestionBar } from "./question_bar";
import { use_why } from "./use_why";
import type { WhyView } from "./why_state";

const VIEWS: { view: WhyView; label: string; hint: string }[] = [
  { view: "list", label: "Contributions", hint: "What writes straight to the logits, strongest first" },
  { view: "layers", label: "By layer", hint: "The metric after each layer" },
  { view: "heads", label: "Heads", hint: "All heads at once" },
  { view: "live", label: "Live", hint: "The strongest components, measured as each token is made" },
  { view: "graph", label: "Graph", hint: "The paths that are shown, flat" },
];

export function WhyPanel({ shown }: { shown: Shown }): JSX.Element {
  const page = use_page();
  const state = page.state.why;
  use_why(page, state);
  const { analysis } = page.store;
  const missing = missing_analysis(page.store, "overview");
  if (missing && !state.opened.value) return <OnlyLive reason={missing} shown={shown} />;
  const overview = analysis.overview.slot.value.answer;
  const view = state.view.value;
  return (
    <div class="why" onDragOver={(event) => event.preventDefault()} onDrop={(event) => take_dropped(event, page)}>
      <QuestionBar />
      <OpenedBar />
      <div class="why-body">
        <NodePanel />
        <section class="why-whole" aria-label="The whole">
          <div class="why-whole-head">
            <div class="segmented" role="group" aria-label="What to look at">
              {VIEWS.map(({ view: own, label, hint }) => (
                <button type="button" key={own} aria-pressed={view === own} title={hint}
                  onClick={() => (state.view.value = own)}>{label}</button>
              ))}
            </div>
            <LiveSwitch />
          </div>
          <div class="why-view" tabIndex={0} role="region" aria-label={VIEWS.find((item) => item.view === view)!.label}>
            {view === "graph" ? <GraphView /> : view === "live" ? <LiveCausal shown={shown} /> : !overview ? <p class="muted">Nothing has been asked yet.</p>
              : view === "list" ? <Contributions overview={overview} />
              : view === "layers" ? <LayerLine overview={overview} /> : <HeadMap overview={overview} />}
          </div>
        </section>
      </div>
    </div>
  );
}

/** A model that answers no questions may be measured all the same. */
function OnlyLive({ reason, shown }: { reason: string; shown: Shown }): JSX.Element {
  return (
    <div class="why">
      <div class="why-question">
        <p class="muted">This model cannot be asked why: {reason}</p>
        <LiveSwitch />
      </div>
      <div class="why-view pad"><LiveCausal shown={shown} /></div>
    </div>
  );
}
