// Commands that wait for their answers, by request_id.
import type { DecodedEvent } from "../protocol/decode";

/** The server's refusal of one command, in its own words. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  constructor(
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

interface Waiting {
  resolve: (event: DecodedEvent) => void;
  reject: (reason: Refusal) => void;
}

export class Requests {
  private last_id = 0;
  private readonly waiting = new Map<number, Waiting>();

  /** A fresh request_id and the answer that will echo it; rejects with Refusal. */
  expect(): { request_id: number; answer: Promise<DecodedEvent> } {
    const request_id = ++this.last_id;
    const answer = new Promise<DecodedEvent>((resolve, reject) => this.waiting.set(request_id, { resolve, reject }));
    return { request_id, answer };
  }

  /** Settle the request that `event` answers; false where it answers none of ours. */
  settle(event: DecodedEvent): boolean {
    if (!("request_id" in event) || event.request_id === null) return false;
    const request = this.waiting.get(event.request_id);
    if (!request) return false;
    this.waiting.delete(event.request_id);
    if (event.type === "error_report") request.reject(new Refusal(event.code, event.message));
    else request.resolve(event);
    return true;
  }

  /** The connection is gone: no answer will come. */
  fail_all(message: string): void {
    for (const request of this.waiting.values()) request.reject(new Refusal("connection_lost", message));
    this.waiting.clear();
  }
}
