// The connection as a real page has it.
import type { Store } from "../store/store";
import { Connection } from "./connection";
import { has_own_recording, page_recording, PageSource } from "./replay_page";
import { page_run_link } from "./run_link";
import { page_share_key, share_view } from "./sharing";
import { SocketSource, socket_url } from "./socket_source";

export interface PageConnection {
  connection: Connection;
  source: PageSource;
}

/** Connect the page to the server that sent it, or to the recording that came with it. */
export function connect_page(store: Store): PageConnection {
  keep_viewer_ids(store);
  const open_live = has_own_recording(document) ? null : () => new SocketSource(socket_url(document.baseURI));
  const source = new PageSource(store, open_live, page_run_link());
  const connection = new Connection(store, {
    open_source: source.open,
    run_link: source.run_link,
    next_frame: (callback) => {
      // A hidden tab gets no animation frames; what comes then is small.
      if (document.hidden) setTimeout(callback, 100);
      else requestAnimationFrame(callback);
    },
    is_hidden: () => document.hidden,
    probe,
  });
  document.addEventListener("visibilitychange", () => void connection.visibility_changed());
  window.addEventListener("online", () => source.has_server && !store.replay.peek() && connection.retry());
  window.addEventListener("pagehide", () => connection.close());
  window.addEventListener("pageshow", (event) => event.persisted && connection.retry());
  const share_key = page_share_key();
  if (share_key !== null) share_view(store, connection, share_key);
  if (source.has_server) connection.start();
  else void show_own_recording(store, source, connection);
  return { connection, source };
}

const VIEWER_IDS = "livelens.viewer_ids";

/** A tab that is loaded again is still the one that did what it did. */
function keep_viewer_ids(store: Store): void {
  try {
    store.own_viewer_ids.value = (sessionStorage.getItem(VIEWER_IDS) ?? "").split(" ").filter(Boolean);
    store.own_viewer_ids.subscribe((ids) => sessionStorage.setItem(VIEWER_IDS, ids.join(" ")));
  } catch {
    // no storage in this browser or frame: after a reload its own changes are those of a viewer with a name
  }
}

async function show_own_recording(store: Store, source: PageSource, connection: Connection): Promise<void> {
  try {
    const own = await page_recording(document);
    if (own) await source.show(own.bytes, own.name, connection);
  } catch (error) {
    store.connection.value = "refused";
    store.connection_message.value = error instanceof Error ? error.message : String(error);
  }
}

/** A websocket that fails says nothing; the same server asked over HTTP says why. */
async function probe(): Promise<string | null> {
  try {
    const answer = await fetch("./", { cache: "no-store" });
    if (answer.ok) return null;
    const type = answer.headers.get("content-type") ?? "";
    const said = type.startsWith("text/plain") ? (await answer.text()).slice(0, 500) : "";
    if (answer.status === 404 && said) return said; // the kernel that showed it has ended
    return answer.status === 401 || answer.status === 403
      ? said || "The server refuses this page: open the link that it printed when it started."
      : null;
  } catch {
    return null; // not reachable at all: keep trying
  }
}
