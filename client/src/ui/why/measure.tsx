// Checked by doing: ablate this one component, run, and see what happens to the metric.
import type { JSX } from "preact";
import { component_of_node, parse_node } from "../../layout/node_id";
import { percent_text, signed_text } from "../format";
import { use_page } from "../page";
import { measure, measure_key } from "./why_actions";

export function Measure({ node, compact }: { node: string; compact?: boolean }): JSX.Element | null {
  const page = use_page();
  const { analysis } = page.store;
  const component = component_of_node(node);
  const place = parse_node(node);
  const question = analysis.question.value;
  if (!component || !place || !question) return null;
  const everywhere = place.pos !== question.pos;
  const slot = analysis.measured.slots.value.get(measure_key(component, everywhere));
  const scope = everywhere ? "at every token up to the question's" : "at this token";
  if (slot?.error) return <span class="off-mark" role="alert">{slot.error}</span>;
  if (slot?.progress) return <span class="muted">Measuring…</span>;
  const answer = slot?.answer;
  if (!answer) {
    return (
      <button type="button" class={compact ? "why-quiet why-measure" : "button small why-measure"} aria-label={`Measure ${node}`}
        title={`Ablate it (zero) ${scope}, run, and compare`} onClick={() => measure(page, node)}>Measure</button>
    );
  }
  const [effect, attributed, prob] = [answer.effects.values[0], answer.attributed?.values[0], answer.probs.values[0]];
  const title = `Zeroed ${scope}: probability of the target ${percent_text(answer.clean_prob)} → ${percent_text(prob)}; attributed ${signed_text(attributed)}`;
  return (
    <span class="why-measured" title={title}>
      {!compact && <>attributed <b data-sign={Math.sign(attributed ?? 0)}>{signed_text(attributed)}</b> · </>}
      {compact ? "" : "measured "}<b class="why-effect" data-sign={Math.sign(effect ?? 0)}>{signed_text(effect)}</b>
      {!compact && <span class="muted"> {everywhere ? "everywhere" : "here"}, {percent_text(answer.clean_prob)} → {percent_text(prob)}</span>}
    </span>
  );
}
