// Asks for the residual stream's paths while they are in the picture, and asks again once the run rests elsewhere.
import { useEffect } from "preact/hooks";
import { is_at_rest } from "../../store/rest";
import { use_page } from "../page";

const REST_MS = 250;

export function StreamKeeper(): null {
  const { store, actions } = use_page();
  const { stream } = store;
  const run = store.run.value;
  const capabilities = store.model_info.value?.capabilities;
  const is_asked_for = stream.is_shown.value && (capabilities?.analyses.includes("stream_pca") ?? false);
  const n_tokens = store.tokens.value.length;
  const rests = is_at_rest(run);
  const [scaling, skips_first] = [stream.scaling.value, stream.skips_first.value];
  const skip_first = skips_first && n_tokens > 2 ? 1 : 0;
  const moment = run ? `${run.run_id} ${run.revision} ${n_tokens}` : null;
  useEffect(() => {
    if (!is_asked_for || !rests || !run) return undefined;
    const about = { run_id: run.run_id, revision: run.revision };
    const timer = setTimeout(() => {
      const before = stream.asked.peek();
      // Of another state of the run nothing may be drawn, not even until the answer is there.
      if (before?.run_id !== about.run_id || before.revision !== about.revision) stream.inquiry.clear();
      stream.asked.value = about;
      void stream.inquiry.ask(actions.ask, { type: "request_stream_pca", scaling, skip_first });
    }, REST_MS);
    return () => clearTimeout(timer);
  }, [is_asked_for, rests, moment, scaling, skip_first]);
  useEffect(() => {
    stream.pinned.value = []; // another run has other tokens
  }, [run?.run_id]);
  return null;
}
