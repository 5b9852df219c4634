// Looking at the same as a notebook's view and the other pages that it shows (`#share=KEY`): what one selects and the
// run that one goes to, all of them follow.
import { batch, effect } from "@preact/signals";
import type { DecodedEvent } from "../protocol/decode";
import type { Component } from "../protocol/generated";
import { hash_keys, hash_of } from "../store/page_hash";
import { add_notice, component_key, type Store } from "../store/store";
import { Refusal } from "./requests";
import { replace_hash } from "./run_link";

/** At most ten times a second is told what is looked at. */
const SETTLE_MS = 100;
const KEY = /^[A-Za-z0-9_-]{16,64}$/;

/** What sharing needs of the connection. */
export interface SharingLine {
  on_event(listener: (event: DecodedEvent) => void): void;
  /** Whether this is the run that is watched, or on its way to be. */
  is_going_to(run_id: string): boolean;
  watch_run(run_id: string, follows: boolean): Promise<void>;
  share_view(key: string): Promise<void>;
  set_selection(component: Component | null, pos: number | null): Promise<void>;
}

interface Looked {
  component: Component | null;
  pos: number | null;
}

const same = (a: Looked, b: Looked): boolean =>
  a.pos === b.pos && (a.component && component_key(a.component)) === (b.component && component_key(b.component));

/** Share until the returned function is called. */
export function share_view(store: Store, line: SharingLine, key: string): () => void {
  let agreed: Looked = { component: null, pos: null };
  let is_sharing = false;
  let timer: ReturnType<typeof setTimeout> | undefined;

  const looked = (): Looked => ({
    component: store.selection.value,
    pos: store.follow.value ? null : store.current_pos.value,
  });
  const refused = (error: unknown): void => {
    if (!(error instanceof Refusal)) throw error;
    const is_over = ["connection_lost", "not_connected", "run_unknown", "not_sharing"].includes(error.code);
    if (!is_over) add_notice(store, "fault", error.message);
  };
  const tell = (): void => {
    timer = undefined;
    const now = looked();
    if (!is_sharing || same(now, agreed)) return;
    agreed = now;
    line.set_selection(now.component, now.pos).catch(refused);
  };

  line.on_event((event) => {
    if (event.type === "run_shared" && !line.is_going_to(event.run_id)) {
      line.watch_run(event.run_id, true).catch(refused);
    } else if (event.type === "selection_changed" && !store.own_viewer_ids.peek().includes(event.author)) {
      agreed = { component: event.component, pos: event.pos };
      look_at(store, agreed);
    }
  });
  const ends = [
    effect(() => {
      is_sharing = false;
      if (store.connection.value !== "open") return;
      line.share_view(key).then(() => (is_sharing = true), refused);
    }),
    effect(() => {
      looked();
      timer ??= setTimeout(tell, SETTLE_MS);
    }),
  ];
  return () => {
    clearTimeout(timer);
    ends.forEach((end) => end());
  };
}

function look_at(store: Store, { component, pos }: Looked): void {
  batch(() => {
    store.selection.value = component;
    const newest = store.history.newest_pos;
    store.follow.value = pos === null || pos > newest;
    store.current_pos.value = pos === null ? newest : Math.min(pos, newest);
  });
}

/**
 * The key of this page's address, or that of before it was loaded again; none where it shares with nobody. It is taken
 * out of the address: a link to the view is not a key to it.
 */
export function page_share_key(): string | null {
  const kept = `livelens.share:${location.pathname}`;
  const keys = hash_keys(location.hash);
  const given = keys.get("share");
  try {
    if (given === null) return sessionStorage.getItem(kept);
    if (KEY.test(given)) sessionStorage.setItem(kept, given);
  } catch {
    // no storage in this browser or frame: after a reload it shares no longer
  }
  if (given === null) return null;
  keys.delete("share");
  replace_hash(hash_of(keys));
  return KEY.test(given) ? given : null;
}
