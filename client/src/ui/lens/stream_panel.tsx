// The residual stream's paths in the picture: whose are drawn, along which axes, and how much of the stream they show.
import type { JSX } from "preact";
import { useEffect } from "preact/hooks";
import { MAX_STREAM_PATHS, stream_colour } from "../../layout/stream_places";
import type { StreamPcaAnswer } from "../../protocol/questions";
import { stream_answer } from "../../store/stream_paths";
import { number_text, percent_text, token_label } from "../format";
import { use_page } from "../page";
import { use_missing, Working } from "../parts/asking";
import { TokenWords } from "../parts/token_words";
import type { Shown } from "../shown_step";
import { Switch } from "../switch";
import { ViewSwitch } from "./view_switch";

export function StreamPanel({ shown }: { shown: Shown }): JSX.Element {
  const { store, state } = use_page();
  const missing = use_missing("stream_pca");
  const { is_shown, scaling, skips_first, inquiry } = store.stream;
  const { progress, error } = inquiry.slot.value;
  useEffect(() => {
    if (missing === null && state.scene.peek()) is_shown.value = true; // whoever opens this wants to see it
  }, [missing]);
  const problem = missing ?? (state.scene_problem.value !== null ? "there is no picture for the paths to be in" : null);
  return (
    <>
      <div class="table-tools">
        <ViewSwitch />
        <span class="lens-choice">
          <Switch checked={is_shown.value} label="Paths in the picture" on_change={() => (is_shown.value = !is_shown.value)} />
          <span aria-hidden="true">in the picture</span>
        </span>
        <label class="lens-choice">
          <span>Each vector</span>
          <select value={scaling.value}
            onChange={(event) => (scaling.value = event.currentTarget.value as StreamPcaAnswer["scaling"])}>
            <option value="rms">by its own size, as a norm reads it</option>
            <option value="none">as it is</option>
          </select>
        </label>
        <label class="lens-choice" title="The first token's stream is often far larger than all others, and would be all that the axes show">
          <input type="checkbox" checked={skips_first.value}
            onChange={(event) => (skips_first.value = event.currentTarget.checked)} />
          <span>axes without the first token</span>
        </label>
        {progress && <Working progress={progress} />}
      </div>
      <div class="lens-scroll" tabIndex={0} role="region" aria-label="Paths of the residual stream">
        {problem !== null ? <p class="muted pad">No paths: {problem}</p> : (
          <>
            {error && <p class="pad" role="alert">{error}</p>}
            <PathTokens shown={shown} />
            <Axes />
          </>
        )}
      </div>
    </>
  );
}

/** Every token of the run as a switch for its path. */
function PathTokens({ shown }: { shown: Shown }): JSX.Element {
  const { store } = use_page();
  const { stream } = store;
  const pinned = stream.pinned.value;
  const { pos: current } = shown.step.value;
  const tokens = store.tokens.value;
  if (tokens.length === 0) return <p class="muted pad">Run a prompt: its tokens’ paths are drawn above the network.</p>;
  return (
    <div class="path-tokens" role="group" aria-label="Tokens whose paths are drawn">
      <span class="muted">The shown token’s path is drawn; keep others, up to {MAX_STREAM_PATHS}:</span>
      {tokens.map(({ pos, text }) => {
        const order = pinned.indexOf(pos);
        return (
          <button type="button" key={pos} class="path-token" aria-pressed={order >= 0} data-current={pos === current || undefined}
            disabled={order < 0 && pinned.length >= MAX_STREAM_PATHS} title={`The path of position ${pos}`}
            style={{ "--path": stream_colour(store.theme.value, order >= 0 ? order + 1 : 0) }}
            onClick={() => stream.toggle(pos)}>{token_label(text)}</button>
        );
      })}
      <button type="button" class="button small" disabled={pinned.length === 0} onClick={() => (stream.pinned.value = [])}>None</button>
    </div>
  );
}

function Axes(): JSX.Element | null {
  const { store } = use_page();
  const answer = stream_answer(store);
  if (!answer) return null;
  const shares = Array.from(answer.explained.values);
  const [n_positions = 0, n_points = 0] = answer.coordinates.shape;
  const n_shaping = n_positions - answer.skip_first;
  return (
    <div class="stream-axes">
      <p class="stream-words" role="status">
        The three axes hold <b>{percent_text(shares.reduce((sum, share) => sum + share, 0))}</b> of the variance of{" "}
        {number_text(n_shaping * n_points, 6)} points: {n_shaping} tokens at {n_points} places, before the first layer and
        after each{answer.skip_first > 0 && "; the first token is left out of mean and axes, and drawn in them"}.{" "}
        {answer.scaling === "rms" ? "Each point was divided by its root mean square" : "Points are as they are"}; their
        common mean was taken off. Thin is early, thick is late.
      </p>
      {shares.map((share, axis) => (
        <div class="stream-axis" key={axis}>
          <h3>Axis {axis + 1}: {percent_text(share)}</h3>
          <TokenWords label="raises" tokens={answer.promoted[axis] ?? []} />
          <TokenWords label="lowers" tokens={answer.suppressed[axis] ?? []} />
        </div>
      ))}
    </div>
  );
}
