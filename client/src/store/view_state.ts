// What is looked at, as text in the page's address: a link shows the same. Never the prompt unless it is asked for,
// and never the server's token.
import { DecodeError } from "../protocol/errors";
import { intervention } from "../protocol/event_checks";
import type { Component, InterventionSpec } from "../protocol/generated";
import type { LayerRange } from "./layer_range";
import { hash_keys, hash_of } from "./page_hash";
import type { DisplayChannel, ViewPreset } from "./types";

export type CameraPose = readonly [number, number, number, number, number, number];

export interface ViewState {
  selection: Component | null;
  /** None: the newest token. */
  pos: number | null;
  channel: DisplayChannel;
  /** Not yet held against a model; null: all layers. */
  layer_range: LayerRange | null;
  /** What is shown is the difference from the clean twin. */
  is_from_twin: boolean;
  preset: ViewPreset;
  pose: CameraPose | null;
  interventions: readonly InterventionSpec[];
  prompt: string | null;
}

const CHANNELS: readonly DisplayChannel[] = ["activation", "direct_logit", "causal"];
const PRESETS: readonly ViewPreset[] = ["three_quarter", "front", "time"];
const KEYS = ["sel", "pos", "show", "layers", "beside", "view", "cam", "set", "prompt"] as const;
const COMPONENT = /^L(\d{1,6})(?:([HN])(\d{1,8})|\.(attn|mlp))$/;
/** Longer sets do not go into a link: browsers and chats cut long addresses. */
const MAX_SET_CHARS = 4000;
const MAX_PROMPT_CHARS = 8000;
const FAR = 1e4;

function component_text({ kind, layer, index }: Component): string {
  return kind === "head" || kind === "neuron" ? `L${layer}${kind === "head" ? "H" : "N"}${index}` : `L${layer}.${kind}`;
}

function component_of(text: string): Component | null {
  const match = COMPONENT.exec(text);
  if (!match) return null;
  const [, layer, letter, index, whole] = match;
  if (whole === "attn" || whole === "mlp") return { kind: whole, layer: Number(layer), index: 0 };
  return { kind: letter === "H" ? "head" : "neuron", layer: Number(layer), index: Number(index) };
}

/** Only what differs from an intervention that does nothing special. */
function short_spec(spec: InterventionSpec): Record<string, unknown> {
  const plain: Partial<Record<string, unknown>> = { ...intervention({ intervention_id: "", operation: "", components: [] }, "set") };
  return Object.fromEntries(
    Object.entries(spec).filter(([name, value]) => JSON.stringify(value) !== JSON.stringify(plain[name])),
  );
}

export function set_text(specs: readonly InterventionSpec[]): string {
  return JSON.stringify(specs.map(short_spec));
}

function set_of(text: string): InterventionSpec[] {
  try {
    const value: unknown = JSON.parse(text);
    return Array.isArray(value) ? value.map((item, i) => intervention(item, `set[${i}]`)) : [];
  } catch (error) {
    if (error instanceof DecodeError || error instanceof SyntaxError) return [];
    throw error;
  }
}

/** `hash` with the view in it; other keys, such as the run, stay. Defaults are left out. */
export function with_view(hash: string, view: ViewState): string {
  const keys = hash_keys(hash);
  const put = (key: (typeof KEYS)[number], value: string | null): void => {
    if (value === null) keys.delete(key);
    else keys.set(key, value);
  };
  const set = set_text(view.interventions);
  put("sel", view.selection && component_text(view.selection));
  put("pos", view.pos === null ? null : String(view.pos));
  put("show", view.channel === "activation" ? null : view.channel);
  const layers = view.layer_range;
  put("layers", layers && `${layers.first_layer}-${layers.last_layer}`);
  put("beside", view.is_from_twin ? "twin" : null);
  put("view", view.pose || view.preset === "three_quarter" ? null : view.preset);
  put("cam", view.pose && view.pose.map((value) => Number(value.toFixed(3))).join(","));
  put("set", view.interventions.length > 0 && set.length <= MAX_SET_CHARS ? set : null);
  put("prompt", view.prompt);
  return hash_of(keys);
}

/** What `hash` says of the view: what it does not say, or says wrongly, is as on a fresh page. */
export function view_of(hash: string): ViewState {
  const keys = hash_keys(hash);
  const pos = keys.get("pos") ?? "";
  const prompt = keys.get("prompt");
  return {
    selection: component_of(keys.get("sel") ?? ""),
    pos: /^\d{1,7}$/.test(pos) ? Number(pos) : null,
    channel: CHANNELS.find((channel) => channel === keys.get("show")) ?? "activation",
    layer_range: layers_of(keys.get("layers") ?? ""),
    is_from_twin: keys.get("beside") === "twin",
    preset: PRESETS.find((preset) => preset === keys.get("view")) ?? "three_quarter",
    pose: pose_of(keys.get("cam")),
    interventions: set_of(keys.get("set") ?? "[]"),
    prompt: prompt !== null && prompt.length <= MAX_PROMPT_CHARS ? prompt : null,
  };
}

function layers_of(text: string): LayerRange | null {
  const match = /^(\d{1,6})-(\d{1,6})$/.exec(text);
  const [first_layer, last_layer] = [Number(match?.[1]), Number(match?.[2])];
  return first_layer <= last_layer ? { first_layer, last_layer } : null;
}

function pose_of(text: string | null): CameraPose | null {
  const values = (text ?? "").split(",").map((part) => (part.trim() === "" ? Number.NaN : Number(part)));
  return is_pose(values) ? values : null;
}

function is_pose(values: readonly number[]): values is CameraPose {
  return values.length === 6 && values.every((value) => Math.abs(value) < FAR);
}

/** Whether `hash` says anything of a view at all. */
export function has_view(hash: string): boolean {
  const keys = hash_keys(hash);
  return KEYS.some((key) => keys.has(key));
}
