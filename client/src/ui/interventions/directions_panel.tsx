// Directions of the residual stream: made on the left, used on the right, live in the list of interventions.
import { useSignal } from "@preact/signals";
import type { JSX } from "preact";
import { component_id } from "../../layout/component_id";
import type { ModelInfo } from "../../protocol/generated";
import { number_text, percent_text } from "../format";
import { IconButton } from "../icons";
import { use_missing } from "../parts/asking";
import { use_page } from "../page";
import { RefusalWords, use_refusal } from "../refusal";
import { DirectionForm } from "./direction_form";
import {
  forget_direction, open_direction, put_layer_to, recipe_words, save_direction, use_direction, type StreamOperation,
} from "./direction_actions";
import type { HeldDirection } from "./held_direction";
import { places_of, StreamRangeFields, type StreamRange } from "./stream_field";

export function DirectionsPanel(): JSX.Element {
  const page = use_page();
  const { store, state } = page;
  const info = store.model_info.value;
  const missing = use_missing("direction");
  const { directions, direction_draft, direction_problem } = state.interventions;
  if (!info) return <p class="muted pad">No model yet.</p>;
  return (
    <div class="directions" onDragOver={(event) => event.preventDefault()} onDrop={(event) => {
      event.preventDefault();
      const file = event.dataTransfer?.files[0];
      if (file) void open_direction(page, file);
    }}>
      <section class="direction-make" aria-label="Make a direction">
        {missing ? <p class="muted">{missing}</p> : <DirectionForm draft={direction_draft} info={info} />}
        <label class="button small file-button">Open a .safetensors…
          <input type="file" accept=".safetensors" class="visually-hidden" aria-label="Open a direction from a file"
            onChange={(event) => {
              const file = event.currentTarget.files?.[0];
              event.currentTarget.value = "";
              if (file) void open_direction(page, file);
            }} />
        </label>
        {direction_problem.value && <p class="off-mark" role="alert">{direction_problem.value}</p>}
      </section>
      <section class="direction-list" aria-label="Directions" tabIndex={0}>
        {directions.value.length === 0 && (
          <p class="muted">
            A direction is a vector of {info.d_model} numbers. Added to the residual stream it steers every token that
            follows; taken out, nothing after it can use it. Make one on the left, or open a file.
          </p>
        )}
        {directions.value.map((held) => <Direction key={held.info.direction_id} held={held} info={info} />)}
      </section>
    </div>
  );
}

function Direction({ held, info }: { held: HeldDirection; info: ModelInfo }): JSX.Element {
  const page = use_page();
  const { name, recipe, norm, layer, direction_id } = held.info;
  const best = layer ?? Math.floor(info.n_layers / 2);
  const range = useSignal<StreamRange>({ hook: "resid_post", from: best, to: best });
  const can = info.capabilities.operations;
  const selection = page.store.selection.value;
  const is_layer = selection?.kind === "attn" || selection?.kind === "mlp";
  const refusal = use_refusal();
  const use = (operation: StreamOperation): void =>
    void use_direction(page, held, operation, places_of(range.peek()), refusal.anew());
  return (
    <article class="direction" aria-label={name}>
      <div class="direction-head">
        <h3>{name}</h3>
        <span class="muted">{recipe_words(recipe)}{layer !== null && ` · after L${layer}`} · length {number_text(norm)}</span>
        <button type="button" class="button small" aria-label={`Save ${name}`} onClick={() => save_direction(page, held)}>Save</button>
        <IconButton icon="close" label={`Forget ${name}`} onClick={() => forget_direction(page, direction_id)} />
      </div>
      {held.separation && <Separation held={held} />}
      <div class="field-row">
        <StreamRangeFields range={range.value} n_layers={info.n_layers} name={` for ${name}`}
          edit={(change) => (range.value = change(range.peek()))} />
        <button type="button" class="button small primary" disabled={!can.includes("add_direction")} aria-label={`Steer with ${name}`}
          title={can.includes("add_direction") ? "Its strength is a slider in the list of interventions" : "This model cannot do that."}
          onClick={() => use("add_direction")}>Steer</button>
        <button type="button" class="button small" disabled={!can.includes("project_out")} aria-label={`Take out ${name}`}
          title={can.includes("project_out") ? "Nothing of it is left in the stream there" : "This model cannot do that."}
          onClick={() => use("project_out")}>Take out</button>
        {is_layer && can.includes("set") && (
          <button type="button" class="button small" aria-label={`Put ${component_id(selection)} to ${name}`}
            title="All that the layer writes is this direction" onClick={() => void put_layer_to(page, held, selection, refusal.anew())}>
            {component_id(selection)} writes it</button>
        )}
      </div>
      <RefusalWords words={refusal.words} />
    </article>
  );
}

const CHART_HEIGHT = 10;
/** A direction that puts fewer held-out prompts on their own side is little better than a coin. */
const LEAST_ACCURACY = 0.75;

/** How far apart held-out prompts lie along the direction of each layer. */
function Separation({ held }: { held: HeldDirection }): JSX.Element {
  const separation = Array.from(held.separation!);
  const [top, bottom] = [Math.max(0, ...separation), Math.min(0, ...separation)];
  const height_of = (value: number): number => (CHART_HEIGHT * value) / Math.max(top - bottom, 1e-9);
  const zero = height_of(top);
  const chosen = held.info.layer;
  const accuracy = chosen === null ? undefined : held.accuracy?.[chosen];
  const words = chosen === null ? "" : `After L${chosen} prompts that were held out lie ${number_text(separation[chosen])} `
    + `standard deviations apart, ${percent_text(accuracy)} of them on their own side.`;
  return (
    <figure class="separation">
      <svg viewBox={`0 0 ${separation.length} ${CHART_HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`Separation by layer. ${words}`}>
        {separation.map((value, layer) => (
          <rect key={layer} x={layer + 0.1} width={0.8} y={value > 0 ? zero - height_of(value) : zero}
            height={Math.abs(height_of(value))} data-chosen={layer === chosen || undefined}>
            <title>{`L${layer}: ${number_text(value)}`}</title>
          </rect>
        ))}
        <line x1={0} x2={separation.length} y1={zero} y2={zero} />
      </svg>
      <figcaption class="muted">{words}</figcaption>
      {accuracy !== undefined && accuracy < LEAST_ACCURACY && (
        <p class="separation-doubt" role="note">It does not tell new prompts apart: give more prompts, alike but for what you mean.</p>
      )}
    </figure>
  );
}
