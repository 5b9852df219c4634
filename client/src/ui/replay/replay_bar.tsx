// A recording's time line: play, pause, step, speed, and a slider over its tokens.
import type { JSX } from "preact";
import { NO_MODEL, SPEEDS, type Replay } from "../../store/replay";
import { Icon, IconButton } from "../icons";
import { use_page, type Page } from "../page";

/** Play, or hold where it is. */
export function toggle_play(page: Page, replay: Replay): void {
  if (replay.is_playing.peek()) replay.pause();
  else {
    page.actions.follow();
    replay.play();
  }
}

/** Show so many steps, and the newest of them. */
export function show_steps(page: Page, replay: Replay, n_steps: number): void {
  page.actions.follow();
  replay.seek(Math.max(1, n_steps));
}

export function ReplayBar({ replay }: { replay: Replay }): JSX.Element {
  const page = use_page();
  const [shown, is_playing] = [replay.shown.value, replay.is_playing.value];
  return (
    <div class="replay-row" role="group" aria-label="Recording">
      <span class="replay-name" title={`${replay.name}\n${NO_MODEL}`}><b>Recording</b> {replay.name}</span>
      <IconButton icon="left" label="Step back" keys="," disabled={shown <= 1} onClick={() => show_steps(page, replay, shown - 1)} />
      <button type="button" class="button small" id="replay-play" disabled={replay.n_steps === 0}
        title={is_playing ? "Hold (Space)" : "Play at the run's own pace (Space)"} onClick={() => toggle_play(page, replay)}>
        <Icon name={is_playing ? "pause" : "run"} /> {is_playing ? "Pause" : "Play"}
      </button>
      <IconButton icon="right" label="Step" keys="." disabled={shown >= replay.n_steps}
        onClick={() => show_steps(page, replay, shown + 1)} />
      <Slider replay={replay} />
      <span class="replay-at" id="replay-at">{shown} of {replay.n_steps} tokens</span>
      <label class="replay-speed" title="Times the run's own pace; a pause of more than two seconds is shortened">
        <span class="visually-hidden">Speed</span>
        <select value={String(replay.speed.value)} id="replay-speed"
          onChange={(event) => {
            replay.speed.value = Number(event.currentTarget.value);
            event.currentTarget.blur(); // Space plays, then, and does not open the list again
          }}>
          {SPEEDS.map((speed) => <option key={speed} value={String(speed)}>{speed}×</option>)}
        </select>
      </label>
      <Problems replay={replay} />
      {page.keep?.has_server && (
        <button type="button" class="button small" id="leave-recording" onClick={() => page.keep?.leave()}
          title="Close the recording and come back to the server">Close recording</button>
      )}
    </div>
  );
}

function Slider({ replay }: { replay: Replay }): JSX.Element {
  const page = use_page();
  const { n_steps, n_prompt_steps } = replay;
  const share = n_steps > 0 ? (100 * n_prompt_steps) / n_steps : 0;
  return (
    <input type="range" class="replay-slider" id="replay-slider" min={1} max={Math.max(1, n_steps)} step={1}
      value={replay.shown.value} aria-label="Token of the recording" style={{ "--prompt-share": `${share}%` }}
      aria-valuetext={`${replay.shown.value} of ${n_steps} tokens`}
      onInput={(event) => show_steps(page, replay, Number(event.currentTarget.value))} />
  );
}

/** What of the file is damaged, or was left out. */
function Problems({ replay }: { replay: Replay }): JSX.Element | null {
  const said = [...(replay.note === null ? [] : [replay.note]), ...replay.problems];
  if (said.length === 0) return null;
  return (
    <details class="replay-problems" id="replay-problems">
      <summary class="button small">{replay.problems.length > 0 ? "Damaged" : "Not all of the run"}</summary>
      <ul role="status">{said.map((text) => <li key={text}>{text}</li>)}</ul>
    </details>
  );
}
