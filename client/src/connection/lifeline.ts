// Keeps a source open: backoff, an application ping (browsers do not always notice a dead line), and the
// difference between a server that is away and one that refuses.
import type { Command } from "../protocol/generated";
import type { DecodedEvent } from "../protocol/decode";
import type { ConnectionState } from "../store/types";
import type { Source } from "./source";

export interface LifelineOptions {
  open_source: () => Source;
  probe: () => Promise<string | null>;
  ping: () => void;
  state: (state: ConnectionState, message: string | null) => void;
  event: (event: DecodedEvent) => void;
  damaged: (message: string) => void;
}

const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 5_000;
const PING_EVERY_MS = 10_000;
const SILENCE_MS = 25_000;
/** Farewells that trying again would not change: wrong protocol, and the server's own refusals. */
const FINAL_CODES = new Set([1002, 1003, 1010]);
const FIRST_OWN_CODE = 4000;

export class Lifeline {
  private source: Source | null = null;
  private attempts = 0;
  /** Counts connections: what an ended one still says is ignored. */
  private generation = 0;
  private retry_timer: ReturnType<typeof setTimeout> | null = null;
  private ping_timer: ReturnType<typeof setInterval> | null = null;
  private last_heard = 0;

  constructor(private readonly options: LifelineOptions) {}

  start(): void {
    this.options.state("connecting", null);
    this.connect();
  }

  send(command: Command): void {
    this.source?.send(command);
  }

  /** The server's hello was accepted. */
  greeted(): void {
    this.attempts = 0;
    this.options.state("open", null);
  }

  /** End for good, with the reason that the page shows. */
  refuse(message: string): void {
    this.drop();
    this.options.state("refused", message);
  }

  close(): void {
    this.drop();
    this.options.state("closed", null);
  }

  retry(): void {
    this.attempts = 0;
    this.drop();
    this.options.state("reconnecting", null);
    this.connect();
  }

  retry_if_waiting(): void {
    if (this.retry_timer !== null) this.retry();
  }

  private connect(): void {
    const generation = ++this.generation;
    const is_current = (): boolean => generation === this.generation;
    const source = this.options.open_source();
    this.source = source;
    this.heard();
    this.ping_timer = setInterval(() => this.check_line(), PING_EVERY_MS);
    source.open({
      opened: () => is_current() && this.heard(),
      event: (event) => {
        if (!is_current()) return;
        this.heard();
        this.options.event(event);
      },
      damaged: (message) => is_current() && this.options.damaged(message),
      closed: (code, reason) => {
        if (is_current()) void this.ended(code, reason);
      },
    });
  }

  private heard(): void {
    this.last_heard = performance.now();
  }

  private check_line(): void {
    if (performance.now() - this.last_heard > SILENCE_MS) void this.ended(1006, "");
    else this.options.ping();
  }

  private async ended(code: number, reason: string): Promise<void> {
    this.drop();
    if (FINAL_CODES.has(code) || code >= FIRST_OWN_CODE) {
      this.options.state("refused", reason || `The server ended the connection (code ${code}).`);
      return;
    }
    this.options.state("reconnecting", "The connection to the server was lost; trying again.");
    const generation = this.generation;
    const refusal = this.attempts > 0 ? await this.options.probe() : null;
    if (generation !== this.generation) return;
    if (refusal !== null) this.options.state("refused", refusal);
    else this.retry_later();
  }

  private retry_later(): void {
    const delay = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** this.attempts) * (0.75 + Math.random() / 2);
    this.attempts += 1;
    this.retry_timer = setTimeout(() => {
      this.retry_timer = null;
      this.connect();
    }, delay);
  }

  private drop(): void {
    this.generation += 1;
    this.source?.close();
    this.source = null;
    if (this.ping_timer !== null) clearInterval(this.ping_timer);
    if (this.retry_timer !== null) clearTimeout(this.retry_timer);
    this.ping_timer = this.retry_timer = null;
  }
}
