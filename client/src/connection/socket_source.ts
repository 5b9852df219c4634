// The websocket as a source: one worker per connection, so that one stuck on hostile bytes is ended with it.
import { SUBPROTOCOL, type Command } from "../protocol/generated";
import type { Source, SourceListener } from "./source";
import type { FromWorker, ToWorker } from "./worker_messages";

/** The websocket's address, beside the page: right at /, behind a proxy's prefix and inside Jupyter. */
export function socket_url(page: string): string {
  const url = new URL("ws", page);
  url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  url.search = "";
  return url.href;
}

export class SocketSource implements Source {
  private worker: Worker | null = null;

  constructor(private readonly url: string) {}

  open(listener: SourceListener): void {
    const worker = new Worker(new URL("./socket.worker.ts", import.meta.url), { type: "module" });
    this.worker = worker;
    worker.onmessage = (message: MessageEvent<FromWorker>) => {
      const told = message.data;
      if (told.kind === "opened") listener.opened();
      else if (told.kind === "event") listener.event(told.event);
      else if (told.kind === "damaged") listener.damaged(told.message);
      else {
        this.end();
        listener.closed(told.code, told.reason);
      }
    };
    worker.onerror = (event) => {
      this.end();
      listener.closed(1006, event.message || "the page's worker could not start");
    };
    this.post({ kind: "open", url: this.url, subprotocol: SUBPROTOCOL });
  }

  send(command: Command): void {
    this.post({ kind: "send", command });
  }

  close(): void {
    this.post({ kind: "close" });
    this.end();
  }

  private post(message: ToWorker): void {
    this.worker?.postMessage(message);
  }

  private end(): void {
    this.worker?.terminate();
    this.worker = null;
  }
}
