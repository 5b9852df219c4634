// Walking along paths: where a person has been, back and forward, and what they keep hold of.
import { batch, computed, signal, type ReadonlySignal, type Signal } from "@preact/signals";
import type { FileGraph } from "./drawn_text";
import { shown_graph, type Answered, type Pin, type ShownGraph } from "./graph";

export interface Trail {
  readonly nodes: readonly string[];
  /** Index of the node that is looked at; -1 where there is none. */
  readonly at: number;
}
const NO_TRAIL: Trail = { nodes: [], at: -1 };
const MAX_TRAIL = 40;

export class Walk {
  readonly trail: Signal<Trail> = signal(NO_TRAIL);
  /** Edges below this share of the largest are hidden. */
  readonly threshold: Signal<number> = signal(0.05);
  /** The graph has the edges into queries and keys too; the lists always have them. */
  readonly with_scores: Signal<boolean> = signal(false);
  readonly pins: Signal<ReadonlyMap<string, Pin>> = signal(new Map());
  /** The person looks at "why": the picture shows the graph, and a click walks. */
  readonly is_open: Signal<boolean> = signal(false);
  readonly node: ReadonlySignal<string | null> = computed(() => this.trail.value.nodes[this.trail.value.at] ?? null);
  /** A graph from a file, drawn in place of the run's; none where there is none, or it does not fit the model. */
  readonly from_file: Signal<FileGraph | null> = signal(null);
  readonly graph: ReadonlySignal<ShownGraph | null>;

  constructor(answered: () => Answered | null) {
    this.graph = computed(() => {
      const known = answered();
      if (!known) return null;
      const { nodes, at } = this.trail.value;
      const kept = new Set([...nodes.slice(0, at + 1), ...this.pins.value.keys()]);
      return shown_graph(known, { threshold: this.threshold.value, with_scores: this.with_scores.value }, kept, this.pins.value);
    });
  }

  /** Go on to `node`; what lay ahead is forgotten. A node gone through before is gone back to. */
  go(node: string): void {
    const { nodes, at } = this.trail.peek();
    if (nodes[at] === node) return;
    const before = nodes.slice(0, at + 1);
    const known = before.indexOf(node);
    if (known >= 0) this.trail.value = { nodes, at: known };
    else {
      const next = [...before, node].slice(-MAX_TRAIL);
      this.trail.value = { nodes: next, at: next.length - 1 };
    }
  }

  go_to(at: number): void {
    const { nodes } = this.trail.peek();
    if (at >= 0 && at < nodes.length) this.trail.value = { nodes, at };
  }

  back(): void {
    this.go_to(this.trail.peek().at - 1);
  }

  forward(): void {
    this.go_to(this.trail.peek().at + 1);
  }

  pin(node: string, pin: Pin | null): void {
    const pins = new Map(this.pins.peek());
    if (pin) pins.set(node, pin);
    else pins.delete(node);
    this.pins.value = pins;
  }

  /** Another question: start at its logit, with nothing pinned. */
  begin(node: string | null): void {
    batch(() => {
      this.trail.value = node === null ? NO_TRAIL : { nodes: [node], at: 0 };
      this.pins.value = new Map();
    });
  }
}
