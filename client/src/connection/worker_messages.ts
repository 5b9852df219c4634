import type { DecodedEvent } from "../protocol/decode";
import type { Command } from "../protocol/generated";

/** What the page asks of its worker. */
export type ToWorker =
  | { kind: "open"; url: string; subprotocol: string }
  | { kind: "send"; command: Command }
  | { kind: "close" };

/** What the worker tells the page. */
export type FromWorker =
  | { kind: "opened" }
  | { kind: "event"; event: DecodedEvent }
  | { kind: "damaged"; message: string }
  | { kind: "closed"; code: number; reason: string };
