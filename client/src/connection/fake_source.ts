// A source for tests: records what is sent, says what a test tells it to.
import type { DecodedEvent, DecodedStep } from "../protocol/decode";
import type { Command, Hello, RunSnapshot } from "../protocol/generated";
import type { Source, SourceListener } from "./source";

export class FakeSource implements Source {
  listener: SourceListener | null = null;
  readonly sent: Command[] = [];
  is_closed = false;

  open(listener: SourceListener): void {
    this.listener = listener;
    listener.opened();
  }

  send(command: Command): void {
    this.sent.push(command);
  }

  close(): void {
    this.is_closed = true;
  }

  say(event: DecodedEvent): void {
    this.listener?.event(event);
  }

  /** The newest command of `type`; throws when none was sent. */
  last<T extends Command["type"]>(type: T): Extract<Command, { type: T }> {
    const found = this.sent.findLast((command) => command.type === type);
    if (!found) throw new Error(`no ${type} was sent, only ${this.sent.map((command) => command.type).join(", ")}`);
    return found as Extract<Command, { type: T }>;
  }
}

export const HELLO: Hello = {
  type: "hello",
  protocol_version: "1.0",
  server_version: "0",
  viewer_id: "me",
  model_info: {
    model_name: "tiny", architecture: "test", n_layers: 2, n_heads: 2, n_key_value_heads: 2, d_model: 4, d_head: 2,
    d_mlp: 3, d_vocab: 10, n_ctx: 64, dtype: "float32", weights_sha256: "",
    capabilities: {
      channels: ["neurons", "heads"], operations: ["zero", "scale"], component_kinds: ["head", "neuron", "attn", "mlp"],
      missing: [], has_chat_template: false, analyses: [], missing_analyses: [],
    },
  },
  limits: { max_command_bytes: 65536, max_prompt_chars: 1000, max_interventions: 4, grace_secs: 10 },
};

export function snapshot(changes: Partial<RunSnapshot> = {}): RunSnapshot {
  return {
    run_id: "run-1", prompt: "a b", apply_chat_template: false, n_prompt_tokens: 2,
    sampling: { temperature: 0, top_k: 0, top_p: 1, seed: 0, max_new_tokens: 8, stop_at_eos: true },
    tokens: [{ token_id: 1, text: "a", logprob: null }, { token_id: 2, text: " b", logprob: null }],
    text: "", state: "prefilling", finish_reason: null, revision: 0,
    intervention_log: [{ revision: 0, from_pos: 0, mode: "from_now", interventions: [], author: "me" }],
    last_seq: -1, n_steps: 0, author: "me", target_id: null, distractor_id: null, notice: null, branch: null,
    twin: "off", twin_from_pos: null,
    ...changes,
  };
}

export function step(pos: number, changes: Partial<DecodedStep> = {}): DecodedStep {
  return {
    type: "step", run_id: "run-1", seq: pos, base_seq: pos - 1, pos, token_id: pos + 1, text: ` t${pos}`,
    chosen_id: pos + 2, chosen_text: ` t${pos + 1}`, text_delta: pos >= 1 ? ` t${pos + 1}` : "", generated: pos >= 1,
    top_tokens: [], logprob: -1, entropy: 2, revision: 0, server_ns: pos * 5e7,
    tensors: { heads: { shape: [2, 2], values: new Float32Array([1, 2, 3, 4]) } },
    lens_texts: null, direct_target_id: null, direct_distractor_id: null, twin: null, detail_dropped: false, lost: [],
    ...changes,
  };
}
