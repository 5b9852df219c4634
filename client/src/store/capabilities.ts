// What the model cannot do, and why: its own words where it says some.
import type { Capabilities } from "../protocol/generated";
import type { Store } from "./store";

type Channel = Capabilities["channels"][number];
type Analysis = Capabilities["analyses"][number];

/** Why steps come without `channel`; null where they bring it, or nothing is said. */
export function missing_channel({ model_info }: Store, channel: Channel): string | null {
  return model_info.value?.capabilities.missing.find((item) => item.channel === channel)?.reason ?? null;
}

/** Why `channel` cannot be switched on, `unsaid` where the model does not say; null where it can. */
export function channel_fault(store: Store, channel: Channel, unsaid: string): string | null {
  const capabilities = store.model_info.value?.capabilities;
  if (!capabilities) return "there is no model yet";
  return capabilities.channels.includes(channel) ? null : (missing_channel(store, channel) ?? unsaid);
}

/** Why questions of a kind are not answered; null where they are, or nothing is said. */
export function missing_analysis({ model_info }: Store, kind: Analysis): string | null {
  return model_info.value?.capabilities.missing_analyses.find((item) => item.analysis === kind)?.reason ?? null;
}
