// Wires the page: store, connection, picture, panels. The only file that knows both scene/ and ui/.
import { render } from "preact";
import { effect } from "@preact/signals";
import { connect_page } from "./connection/page_connection";
import type { SceneHandle } from "./scene";
import { create_store, type Store } from "./store/store";
import { create_actions } from "./ui/actions";
import { App } from "./ui/app";
import { create_page_state } from "./ui/page";
import { create_run_form, fill_form } from "./ui/run/run_form";
import type { SceneMount } from "./ui/scene_view";
import { create_keep } from "./ui/share/keep";
import { keep_view_link } from "./ui/share/view_link";
import { watch_shown_step } from "./ui/shown_step";
import { follow_theme } from "./ui/theme";
import "./ui/styles.css";

declare global {
  interface Window {
    /** For tests, and for people who want to look behind the page. */
    livelens: { store: Store; scene: SceneHandle | null };
  }
}

const store = create_store();
window.livelens = { store, scene: null };

/** three.js comes in a file of its own: the text and the table do not wait for it. */
const mount_scene: SceneMount = async (container, callbacks) => {
  const { create_scene } = await import("./scene");
  const scene = create_scene(container, store, callbacks);
  window.livelens.scene = scene;
  return scene;
};

const toggle_theme = follow_theme(store);
const state = create_page_state();
const form = create_run_form();
const connected = connect_page(store);
const { connection } = connected;
const actions = create_actions(store, state, form, connection);

// A run that was joined brings its own prompt and settings.
let shown_run: string | null = null;
effect(() => {
  const run = store.run.value;
  if (!run || run.run_id === shown_run) return;
  shown_run = run.run_id;
  fill_form(form, run);
});
effect(() => {
  const model = store.model_info.value?.model_name;
  document.title = model ? `${model} · livelens` : "livelens";
});

const page = { store, actions, state, mount_scene, keep: create_keep({ store, state, form }, connected) };
keep_view_link({ store, state, form });
render(<App page={page} form={form} shown={watch_shown_step(store)} toggle_theme={toggle_theme} />, document.body);
