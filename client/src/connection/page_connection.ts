// The connection as a real page has it.
import type { Store } from "../store/store";
import { Connection } from "./connection";
import { page_run_link } from "./run_link";
import { SocketSource, socket_url } from "./socket_source";

/** Connect the page to the server that sent it. */
export function connect_page(store: Store): Connection {
  const connection = new Connection(store, {
    open_source: () => new SocketSource(socket_url(document.baseURI)),
    run_link: page_run_link(),
    next_frame: (callback) => {
      // A hidden tab gets no animation frames; what comes then is small.
      if (document.hidden) setTimeout(callback, 100);
      else requestAnimationFrame(callback);
    },
    is_hidden: () => document.hidden,
    probe,
  });
  document.addEventListener("visibilitychange", () => void connection.visibility_changed());
  window.addEventListener("online", () => connection.retry());
  window.addEventListener("pagehide", () => connection.close());
  window.addEventListener("pageshow", (event) => event.persisted && connection.retry());
  connection.start();
  return connection;
}

/** A websocket that fails says nothing; the same server asked over HTTP says why. */
async function probe(): Promise<string | null> {
  try {
    const answer = await fetch("./", { cache: "no-store" });
    if (answer.ok) return null;
    const type = answer.headers.get("content-type") ?? "";
    const said = type.startsWith("text/plain") ? (await answer.text()).slice(0, 500) : "";
    return answer.status === 401 || answer.status === 403
      ? said || "The server refuses this page: open the link that it printed when it started."
      : null;
  } catch {
    return null; // not reachable at all: keep trying
  }
}
