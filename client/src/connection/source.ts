// Where events come from. A websocket is one source; a recording that replays is another: both feed the
// same store through Connection, and nothing above knows which.
import type { Command } from "../protocol/generated";
import type { DecodedEvent } from "../protocol/decode";

export interface SourceListener {
  /** Commands may be sent from now on. */
  opened(): void;
  event(event: DecodedEvent): void;
  /** A frame that could not be read; the source goes on. */
  damaged(message: string): void;
  /** No more events will come. `code` is the websocket's close code; 1006 where there was no farewell. */
  closed(code: number, reason: string): void;
}

export interface Source {
  open(listener: SourceListener): void;
  send(command: Command): void;
  close(): void;
}
