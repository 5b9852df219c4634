// The question: target, distractor, and what the metric comes to.
import type { JSX } from "preact";
import { signed_text, token_label } from "../format";
import { use_page, type Page } from "../page";
import { GraphMenu } from "./graph_menu";
import { metric_words } from "./node_words";
import { TokenField } from "./token_field";
import { ask_paths, explain, question_of } from "./why_actions";

const label_of = (text: string | null | undefined): string => (text == null ? "" : token_label(text));

export function QuestionBar(): JSX.Element {
  const page = use_page();
  const { store, state } = page;
  const { target, distractor, against_mean, is_held } = state.why;
  const { analysis } = store;
  const metric = analysis.overview.slot.value.answer?.metric ?? null;
  const walk = analysis.walk;
  const paths = analysis.paths.slot.value;
  return (
    <div class="why-question">
      <span>Why</span>
      <TokenField label="Target token" value={target} placeholder={label_of(metric?.target_text)} />
      <span>and not</span>
      <TokenField label="Distractor token" value={distractor} placeholder={label_of(metric?.distractor_text)}
        disabled={against_mean.value} />
      <label class="check" title="Against the mean of all tokens' logits">
        <input type="checkbox" checked={against_mean.value}
          onChange={(event) => (against_mean.value = event.currentTarget.checked)} />mean of all
      </label>
      <label class="check" title="Keep this question while walking to other tokens">
        <input type="checkbox" checked={is_held.value} onChange={(event) => (is_held.value = event.currentTarget.checked)} />hold
      </label>
      <Status page={page} />
      <span class="why-tools">
        <button type="button" class="button small" id="strongest-paths" disabled={!analysis.question.value || !!paths.progress}
          title="The strongest paths from the input tokens to this logit" onClick={() => ask_paths(page)}>Strongest paths</button>
        <label class="check" title="Draw the edges into queries and keys too; the lists always have them">
          <input type="checkbox" checked={walk.with_scores.value}
            onChange={(event) => (walk.with_scores.value = event.currentTarget.checked)} />Q, K
        </label>
        <label class="why-threshold" title="Hide edges below this share of the largest">
          <span>Edges ≥ {Math.round(100 * walk.threshold.value)} %</span>
          <input type="range" min={0} max={60} step={1} value={Math.round(100 * walk.threshold.value)} aria-label="Hide weak edges, percent of the strongest"
            onInput={(event) => (walk.threshold.value = Number(event.currentTarget.value) / 100)} />
        </label>
        <GraphMenu />
      </span>
    </div>
  );
}

/** What the metric comes to, how far the work is, or why there is no answer. */
function Status({ page }: { page: Page }): JSX.Element {
  const { analysis, run, tokens, current_pos } = page.store;
  const overview = analysis.overview.slot.value;
  const paths = analysis.paths.slot.value;
  const error = overview.error ?? paths.error;
  if (error) return <span class="why-status off-mark" role="alert">{error}</span>;
  const progress = overview.progress ?? paths.progress;
  if (progress) {
    const inquiry = overview.progress ? analysis.overview : analysis.paths;
    return (
      <span class="why-status muted" role="status">
        Working{progress.total > 0 ? ` ${progress.done} of ${progress.total}` : "…"}{" "}
        <button type="button" class="button small" onClick={() => inquiry.give_up()}>Cancel</button>
      </span>
    );
  }
  if (overview.answer) {
    const { metric } = overview.answer;
    return (
      <span class="why-status" role="status">
        {metric_words(metric)}: <b id="metric-value">{signed_text(metric.value, 4)}</b> logits
        {metric.notice && <span class="muted"> · {metric.notice}</span>}
      </span>
    );
  }
  const pos = current_pos.value;
  if (!run.value) return <span class="why-status muted">Run a prompt first.</span>;
  if (!tokens.value[pos + 1]) return <span class="why-status muted">No token follows the shown one yet.</span>;
  if (run.value.state !== "running") return <span class="why-status muted">Asking…</span>;
  const { target, distractor, against_mean } = page.state.why;
  return (
    <button type="button" class="button small"
      onClick={() => explain(page, question_of(pos, target.peek(), distractor.peek(), against_mean.peek()))}>
      Explain this token now
    </button>
  );
}
