// Commands that wait for their answers, by request_id.
import type { DecodedEvent } from "../protocol/decode";
import type { Progress } from "../protocol/questions";

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

/** What `work` brings, or the words of the refusal. */
export async function or_refusal<T extends object>(work: Promise<T>): Promise<T | string> {
  try {
    return await work;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return error.message;
  }
}

/** Told why something was not taken. */
export type Told = (why: string) => void;

/** The words in which `work` was refused; null where it was not. */
export async function refusal_of(work: Promise<unknown>): Promise<string | null> {
  const done = await or_refusal(work.then(() => ({})));
  return typeof done === "string" ? done : null;
}

interface Waiting {
  resolve: (event: DecodedEvent) => void;
  reject: (reason: Refusal) => void;
  on_progress: ((progress: Progress) => void) | undefined;
}

export class Requests {
  private last_id = 0;
  private readonly waiting = new Map<number, Waiting>();
  /** Requests nobody waits for any more; what still comes for them is no news. */
  private readonly dropped = new Set<number>();

  /** A fresh request_id and the answer that will echo it; rejects with Refusal. */
  expect(on_progress?: (progress: Progress) => void): { request_id: number; answer: Promise<DecodedEvent> } {
    const request_id = ++this.last_id;
    const answer = new Promise<DecodedEvent>((resolve, reject) => {
      this.waiting.set(request_id, { resolve, reject, on_progress });
    });
    return { request_id, answer };
  }

  /** Stop waiting for a request: it rejects with `reason` now. False where it was settled before. */
  drop(request_id: number, reason: Refusal): boolean {
    const request = this.waiting.get(request_id);
    if (!request) return false;
    this.waiting.delete(request_id);
    this.dropped.add(request_id);
    request.reject(reason);
    return true;
  }

  /** Settle the request that `event` answers; false where it answers none of ours. */
  settle(event: DecodedEvent): boolean {
    if (!("request_id" in event) || event.request_id === null) return false;
    const request = this.waiting.get(event.request_id);
    if (!request) return this.is_dropped(event, event.request_id);
    if (event.type === "analysis_progress") {
      request.on_progress?.({ done: event.done, total: event.total });
      return true;
    }
    this.waiting.delete(event.request_id);
    if (event.type === "error_report") request.reject(new Refusal(event.code, event.message));
    else request.resolve(event);
    return true;
  }

  private is_dropped(event: DecodedEvent, request_id: number): boolean {
    return event.type === "analysis_progress" ? this.dropped.has(request_id) : this.dropped.delete(request_id);
  }

  /** The connection is gone: no answer will come. */
  fail_all(message: string): void {
    for (const request of this.waiting.values()) request.reject(new Refusal("connection_lost", message));
    this.waiting.clear();
    this.dropped.clear();
  }
}
