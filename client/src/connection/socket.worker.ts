// The websocket and the decoding of its frames, off the main thread. Arrays are handed over, not copied.
import { encode } from "@msgpack/msgpack";
import { DecodeError, Decoder, transferables, type DecodedStep } from "../protocol/decode";
import type { Command } from "../protocol/generated";
import type { FromWorker, ToWorker } from "./worker_messages";

declare const self: DedicatedWorkerGlobalScope;

// Requests that the worker makes on its own count down from here, apart from the page's, which count up.
let own_request_id = Number.MAX_SAFE_INTEGER;
let socket: WebSocket | null = null;
let decoder = new Decoder();
/** A keyframe was asked for and has not come yet. */
let keyframe_asked = false;

function tell(message: FromWorker, transfer: ArrayBuffer[] = []): void {
  self.postMessage(message, transfer);
}

function send(command: Command): void {
  if (socket?.readyState === WebSocket.OPEN) socket.send(encode(command, { ignoreUndefined: true }));
}

/** After a lost chain every difference fails until a whole step comes: ask for one, once. */
function mind_the_chain(step: DecodedStep): void {
  if (step.lost.length === 0) {
    if (step.base_seq < 0) keyframe_asked = false;
    return;
  }
  if (keyframe_asked) return;
  keyframe_asked = true;
  send({ type: "request_keyframe", request_id: own_request_id--, run_id: step.run_id });
}

function receive(data: unknown): void {
  if (!(data instanceof ArrayBuffer)) {
    tell({ kind: "damaged", message: "The server sent a text frame; this protocol has only binary ones." });
    return;
  }
  try {
    const event = decoder.decode(new Uint8Array(data));
    if (event.type === "step") mind_the_chain(event);
    tell({ kind: "event", event }, transferables(event));
  } catch (error) {
    if (!(error instanceof DecodeError)) throw error;
    tell({ kind: "damaged", message: error.message });
  }
}

function open(url: string, subprotocol: string): void {
  decoder = new Decoder();
  keyframe_asked = false;
  const opened = new WebSocket(url, [subprotocol]);
  opened.binaryType = "arraybuffer";
  opened.onopen = () => tell({ kind: "opened" });
  opened.onmessage = (message: MessageEvent<unknown>) => receive(message.data);
  opened.onclose = (event) => tell({ kind: "closed", code: event.code, reason: event.reason });
  socket = opened;
}

self.onmessage = (message: MessageEvent<ToWorker>) => {
  const request = message.data;
  if (request.kind === "open") open(request.url, request.subprotocol);
  else if (request.kind === "send") send(request.command);
  else socket?.close(1000);
};
